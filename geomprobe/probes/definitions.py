"""One record a probe score: what it means, its margin, and how it is computed from held-out predictions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from sklearn.metrics import f1_score, matthews_corrcoef

from geomprobe.probes.estimators import Classified, pearson, spearman
from geomprobe.results.record import ODDS, RATIO, Margin, Record

ACCURACY, SKILL, CORRELATION = Margin(0.02), Margin(0.04), Margin(0.02)
BITS = Margin(0.05)
"""Of information, which may be negative."""

Statistic = Callable[[np.ndarray, np.ndarray], float]
"""From labels and predictions, of shape (n,), to a number."""


@dataclass(frozen=True, kw_only=True)
class Score(Record):
    """A score of a probe; one that is computed in another way has none of these functions.

    Attributes
    ----------
    mean : callable or None
        From the predictions of a classifier, and those of guessing, to its value and what each row adds to it.
    statistic : callable or None
        Of a classifier; its interval is found by the jackknife.
    correlation : callable or None
        Of a regression, or of similarities that go with a score; its interval is found by the jackknife.
    """

    mean: Callable[[Classified, Classified], tuple[float, np.ndarray]] | None = field(default=None, repr=False)
    statistic: Statistic | None = field(default=None, repr=False)
    correlation: Statistic | None = field(default=None, repr=False)


def _accuracy(probe: Classified, guess: Classified) -> tuple[float, np.ndarray]:
    return probe.accuracy, probe.right


def _skill(probe: Classified, guess: Classified) -> tuple[float, np.ndarray]:
    room = 1 - guess.accuracy
    value = (probe.accuracy - guess.accuracy) / room if room else float("nan")
    return value, (probe.right - (1 - value) * guess.right) / (room or 1.0)


def _log_loss(probe: Classified, guess: Classified) -> tuple[float, np.ndarray]:
    return probe.log_loss.mean(), probe.log_loss


def _usable_bits(probe: Classified, guess: Classified) -> tuple[float, np.ndarray]:
    return guess.log_loss.mean() - probe.log_loss.mean(), guess.log_loss - probe.log_loss


def _usable_share(probe: Classified, guess: Classified) -> tuple[float, np.ndarray]:
    entropy = guess.log_loss.mean()
    value = 1 - probe.log_loss.mean() / entropy if entropy else float("nan")
    return value, ((1 - value) * guess.log_loss - probe.log_loss) / (entropy or 1.0)


_ACCURACY: dict[str, Any] = {"range": "[0, 1]", "margin": ACCURACY, "score": "accuracy", "mean": _accuracy}
_SKILL: dict[str, Any] = {"margin": SKILL, "score": "skill", "mean": _skill}
_CORRELATION: dict[str, Any] = {"range": "[−1, 1]", "margin": CORRELATION}
_SPEARMAN: dict[str, Any] = _CORRELATION | {"score": "spearman", "correlation": spearman}
_PEARSON: dict[str, Any] = _CORRELATION | {"score": "pearson", "correlation": pearson}
_AFFINE = "rotation, shift and scale of the vectors, up to the regularisation"
_COSINE = "rotation and scale of the vectors"

_semantic = partial(
    Score,
    family="semantic",
    direction="higher: more of the label is linearly readable",
    invariances=_AFFINE,
    probe="semantic",
)
_cosine = partial(
    Score,
    family="semantic",
    direction="higher: similarity of vectors follows similarity of meaning",
    invariances=_COSINE,
    probe="cosine",
)
_partial = partial(
    Score,
    family="lexical",
    invariances=_COSINE,
    source="Kendall & Stuart 1961",
    **_CORRELATION,
)
_lexical = partial(
    Score, family="lexical", direction="higher: more of the wording is linearly readable", invariances=_AFFINE
)
_word_content = partial(_lexical, probe="lexical_word_content")
_top_word = partial(_lexical, probe="lexical_top_word")
_triplet = partial(
    Score,
    family="lexical",
    direction="higher: meaning weighs more than wording",
    invariances=_COSINE,
    source="Zhu, Li & de Melo 2018 (triplets), with frames matched",
)

_SCORES: tuple[Score, ...] = (
    _semantic(
        name="semantic_accuracy",
        formula="share of validation rows whose label a logistic regression predicts; fitted on train, standardised "
        "features, C in {0.001, 0.01, 0.1, 1}, past 512 features a tenth of these, by log loss in 3 folds; pairs as "
        "[u; v; |u−v|; u∗v]",
        source="Alain & Bengio 2017; Conneau et al. 2017 (pair features)",
        order=190,
        headline=(60, ("",)),
        phrases=("shows less of the labels to a linear probe", "shows more of the labels to a linear probe"),
        **_ACCURACY,
    ),
    _semantic(
        name="semantic_skill",
        formula="(accuracy − majority) / (1 − majority), majority: accuracy of the most frequent train class",
        range="(−∞, 1], 0 for the majority class",
        source="normalised skill score, Wilks 2011",
        order=220,
        against=("meaning", 0),
        **_SKILL,
    ),
    _semantic(
        name="semantic_macro_f1",
        formula="unweighted mean over classes of F1 of the same predictions",
        range="[0, 1]",
        source="van Rijsbergen 1979",
        margin=ACCURACY,
        score="macro_f1",
        statistic=partial(f1_score, average="macro", zero_division=0.0),
    ),
    _semantic(
        name="semantic_mcc",
        formula="Matthews correlation of the same predictions with the labels",
        range="[−1, 1], 0 for guessing",
        source="Matthews 1975; Gorodkin 2004 (several classes)",
        margin=SKILL,
        score="mcc",
        statistic=matthews_corrcoef,
    ),
    _semantic(
        name="semantic_log_loss",
        formula="mean over validation rows of −log2 p(label), in bits",
        range="[0, ∞)",
        direction="lower: the label is read with more certainty",
        source="Good 1952",
        margin=RATIO,
        score="log_loss",
        mean=_log_loss,
    ),
    _semantic(
        name="semantic_usable_bits",
        formula="log loss of the train class shares − log loss of the probe, both on validation rows, in bits",
        range="(−∞, H(Y)]; negative where the probe is worse than the class shares",
        source="Xu et al. 2020",
        margin=BITS,
        order=230,
        score="usable_bits",
        mean=_usable_bits,
        against=("meaning", 1),
    ),
    _semantic(
        name="semantic_usable_share",
        formula="usable bits / log loss of the train class shares",
        range="(−∞, 1]",
        source="Xu et al. 2020",
        margin=ODDS,
        score="usable_share",
        mean=_usable_share,
    ),
    _semantic(
        name="semantic_selectivity",
        formula="accuracy − accuracy of a probe with the same C on a control task: every word type has a class drawn "
        "at random by the class shares and a row has that of its rarest word",
        range="[−1, 1]",
        direction="higher: the probe reads the label and does not just memorise words",
        source="Hewitt & Liang 2019",
        margin=SKILL,
        against=("meaning", 3),
    ),
    _semantic(
        name="semantic_conditional_bits",
        formula="I(Y; Z | BoW): log loss of a probe on the log odds of a bag-of-words probe − log loss of a probe on "
        "these and the vectors, on validation rows, in bits; the bag-of-words probe is fitted on one half of train, "
        "the two others on the other half",
        range="(−∞, H(Y)]",
        direction="higher: more of the label is readable from the vectors than from the words",
        source="Hewitt et al. 2021, with the bag of words entering by its log odds",
        margin=BITS,
        against=("meaning", 2),
    ),
    _semantic(
        name="semantic_code_length",
        formula="bits per train row to send the labels given the vectors: blocks that end at 0.1, 0.2, 0.4, 0.8, 1.6, "
        "3.2, 6.25, 12.5, 25, 50, 100 % of the rows, each coded by a probe fitted on those before",
        range="[0, ∞)",
        direction="lower: the label is read with fewer rows and more certainty",
        source="Voita & Titov 2020 (online code)",
        margin=RATIO,
    ),
    _semantic(
        name="semantic_compression",
        formula="log2(number of classes) / code length per row",
        range="(0, ∞), 1 for no regularity",
        direction="higher: the label is read with fewer rows and more certainty",
        source="Voita & Titov 2020",
        margin=RATIO,
    ),
    _partial(
        name="partial_spearman_gold",
        formula="partial Spearman correlation of cos(u, v) with the score (or with the label, 1: the same) given word "
        "overlap (Jaccard)",
        direction="higher: similarity follows meaning beyond wording",
        against=("meaning", 4),
    ),
    _partial(
        name="partial_spearman_overlap",
        formula="partial Spearman correlation of cos(u, v) with word overlap (Jaccard) given the score or label",
        direction="higher: similarity follows wording beyond meaning",
        against=("meaning", 5),
    ),
    _semantic(
        name="sts_probe_spearman",
        formula="Spearman correlation of the score with a ridge regression on [u; v; |u−v|; u∗v]; fitted on train, "
        "penalty in {1, 10, 100, 1000} by R² in 3 folds",
        source="Conneau & Kiela 2018",
        order=210,
        **_SPEARMAN,
    ),
    _semantic(
        name="sts_probe_pearson",
        formula="Pearson correlation of the same predictions",
        source="Conneau & Kiela 2018",
        **_PEARSON,
    ),
    _cosine(
        name="sts_cosine_spearman",
        formula="Spearman correlation of the score with cos(u, v); nothing is fitted",
        source="Reimers & Gurevych 2019",
        order=200,
        headline=(70, ("",)),
        phrases=("follows similarity of meaning less", "follows similarity of meaning more closely"),
        **_SPEARMAN,
    ),
    _cosine(
        name="sts_cosine_pearson",
        formula="Pearson correlation of the score with cos(u, v)",
        source="Cer et al. 2017",
        **_PEARSON,
    ),
    _word_content(
        name="lexical_word_content_accuracy",
        formula="accuracy of telling which of K mid-frequency words (in at least 5 and at most 2 % of the train "
        "sentences, the K = 100 most frequent of these) a sentence holds, by linear discriminant analysis; sentences "
        "with exactly one",
        source="Conneau et al. 2018 (WC)",
        headline=(90, ("",)),
        phrases=("holds less of the wording", "holds more of the wording"),
        against=("wording", 6),
        **_ACCURACY,
    ),
    _word_content(
        name="lexical_word_content_skill",
        formula="(accuracy − majority) / (1 − majority) of the word-content probe",
        range="(−∞, 1]",
        source="Conneau et al. 2018; Wilks 2011",
        against=("wording", 0),
        **_SKILL,
    ),
    _top_word(
        name="lexical_top_word_accuracy",
        formula="accuracy of predicting the most frequent word of the sentence (the first on ties), the 100 most "
        "frequent classes with at least 5 train sentences, by linear discriminant analysis",
        source="arXiv 2606.05173, with words in place of its tokens (there cross-validated on validation)",
        headline=(100, ("",)),
        phrases=("shows less of the most frequent word", "shows more of the most frequent word"),
        against=("wording", 7),
        **_ACCURACY,
    ),
    _top_word(
        name="lexical_top_word_skill",
        formula="(accuracy − majority) / (1 − majority) of the top-word probe",
        range="(−∞, 1]",
        source="arXiv 2606.05173, with words in place of its tokens; Wilks 2011",
        against=("wording", 2),
        **_SKILL,
    ),
    _lexical(
        name="lexical_bow_r2",
        formula="R² (targets weighted by variance) of a ridge regression from the vector to the counts of the 300 "
        "words that occur in most train sentences",
        range="(−∞, 1]",
        source="White et al. 2015 (bag-of-words recovery)",
        margin=ODDS,
        against=("wording", 1),
    ),
    _lexical(
        name="lexical_length_spearman",
        formula="Spearman correlation of the number of words with a ridge regression from the vector to "
        "log(1 + number)",
        direction="higher: sentence length is linearly readable",
        source="Adi et al. 2017",
        against=("wording", 4),
        **_CORRELATION,
    ),
    _lexical(
        name="lexical_overlap_spearman",
        formula="Spearman correlation of the word overlap of a pair (Jaccard) with a ridge regression on "
        "[u; v; |u−v|; u∗v]",
        source="Conneau et al. 2018 (surface information), for pairs",
        against=("wording", 5),
        **_CORRELATION,
    ),
    *(
        Score(
            name=f"{effect.replace(' × ', '_')}_share",
            family="lexical",
            formula=f"variance component of {effect} ({what}) / sum of all seven components; three-way random-effects "
            "analysis of variance of the vectors within each block of the crossed design, both sums over blocks; "
            "interval over families",
            range="(−∞, ∞), 0 for no such effect, the seven sum to 1; never clipped",
            direction="higher: the effects do not add up" if "×" in effect else "higher: vectors move more with it",
            invariances="rotation, shift and scale of the vectors",
            source="Cornfield & Tukey 1956; Searle, Casella & McCulloch 1992",
            margin=ODDS,
            headline=headline,
            phrases=("varies less with meaning", "varies more with meaning") if headline else None,
            against=("crossed", place),
        )
        for place, effect, what, headline in (  # triplets between
            (0, "meaning", "what is said, with the same words", (80, ("",))),
            (1, "words", "which synonyms say it", None),
            (2, "syntax", "in which frame it is said", None),
            (5, "meaning × words", "meaning with words", None),
            (6, "meaning × syntax", "meaning with syntax", None),
            (7, "words × syntax", "words with syntax", None),
            (8, "meaning × words × syntax", "all three, and noise", None),
        )
    ),
    _triplet(
        name="triplet_accuracy",
        formula="share of triplets in which cos(anchor, same meaning in other words) > cos(anchor, other meaning of "
        "the same words), both others in the same frame; ties count a half",
        range="[0, 1], 0.5 by chance, 0 for a bag of words",
        margin=ACCURACY,
        against=("crossed", 3),
    ),
    _triplet(
        name="triplet_margin",
        formula="mean over the same triplets of cos(anchor, same meaning in other words) − cos(anchor, other meaning "
        "of the same words)",
        range="[−2, 2], negative for a bag of words",
        against=("crossed", 4),
    ),
)

RECORDS: dict[str, Score] = {record.name: record for record in _SCORES}
