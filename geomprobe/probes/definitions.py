"""One record a probe score: what it means, its margin, and the per-example scores that it is computed from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from geomprobe.probes.estimators import Classified
from geomprobe.results.record import Margin, Record

ACCURACY, SKILL, CORRELATION = Margin(0.02), Margin(0.04), Margin(0.02)
BITS = Margin(0.05)
"""Of losses and information, which are in bits, and of shares."""


@dataclass(frozen=True, kw_only=True)
class Score(Record):
    """A score of a probe.

    Attributes
    ----------
    statistic : callable or None
        Its value from held-out predictions, its interval by the jackknife: of a score of `probe` that stands in no
        list of `geomprobe.probes.scores`.
    """

    statistic: Callable[[Classified], float] | None = field(default=None, repr=False)


_AFFINE = "rotation, shift and scale of the vectors, up to the regularisation"
_COSINE = "rotation and scale of the vectors"
_UP = "higher: more of the label is linearly readable"
_LEXICAL = "higher: more of the wording is linearly readable"


_SCORES: tuple[Score, ...] = (
    Score(
        name="semantic_accuracy",
        family="semantic",
        formula=(
            "share of validation rows whose label a logistic regression predicts; fitted on train, standardised "
            "features, "
            "C in {0.001, 0.01, 0.1, 1}, past 512 features a tenth of these, by log loss in 3 folds; pairs as "
            "[u; v; |u−v|; u∗v]"
        ),
        range="[0, 1]",
        direction=_UP,
        invariances=_AFFINE,
        source="Alain & Bengio 2017; Conneau et al. 2017 (pair features)",
        margin=ACCURACY,
        order=190,
        headline=(60, ("",)),
        probe="semantic",
        score="accuracy",
    ),
    Score(
        name="semantic_macro_f1",
        family="semantic",
        formula="unweighted mean over classes of F1 of the same predictions",
        range="[0, 1]",
        direction=_UP,
        invariances=_AFFINE,
        source="van Rijsbergen 1979",
        margin=ACCURACY,
        probe="semantic",
        score="macro_f1",
    ),
    Score(
        name="semantic_mcc",
        family="semantic",
        formula="Matthews correlation of the same predictions with the labels",
        range="[−1, 1], 0 for guessing",
        direction=_UP,
        invariances=_AFFINE,
        source="Matthews 1975; Gorodkin 2004 (several classes)",
        margin=SKILL,
        probe="semantic",
        score="mcc",
    ),
    Score(
        name="semantic_skill",
        family="semantic",
        formula="(accuracy − majority) / (1 − majority), majority: accuracy of the most frequent train class",
        range="(−∞, 1], 0 for the majority class",
        direction=_UP,
        invariances=_AFFINE,
        source="normalised skill score, Wilks 2011",
        margin=SKILL,
        order=220,
        probe="semantic",
        score="skill",
        against=("meaning", 0),
    ),
    Score(
        name="semantic_log_loss",
        family="semantic",
        formula="mean over validation rows of −log2 p(label), in bits",
        range="[0, ∞)",
        direction="lower: the label is read with more certainty",
        invariances=_AFFINE,
        source="Good 1952",
        margin=BITS,
        probe="semantic",
        score="log_loss",
    ),
    Score(
        name="semantic_usable_bits",
        family="semantic",
        formula="log loss of the train class shares − log loss of the probe, both on validation rows, in bits",
        range="(−∞, H(Y)]; negative where the probe is worse than the class shares",
        direction=_UP,
        invariances=_AFFINE,
        source="Xu et al. 2020",
        margin=BITS,
        order=230,
        probe="semantic",
        score="usable_bits",
        against=("meaning", 1),
    ),
    Score(
        name="semantic_usable_share",
        family="semantic",
        formula="usable bits / log loss of the train class shares",
        range="(−∞, 1]",
        direction=_UP,
        invariances=_AFFINE,
        source="Xu et al. 2020",
        margin=BITS,
        probe="semantic",
        score="usable_share",
    ),
    Score(
        name="semantic_selectivity",
        family="semantic",
        formula=(
            "accuracy − accuracy of a probe with the same C on a control task: every word type has a class drawn at "
            "random by the class shares and a row has that of its rarest word"
        ),
        range="[−1, 1]",
        direction="higher: the probe reads the label and does not just memorise words",
        invariances=_AFFINE,
        source="Hewitt & Liang 2019",
        margin=SKILL,
        probe="semantic",
        against=("meaning", 3),
    ),
    Score(
        name="semantic_conditional_bits",
        family="semantic",
        formula=(
            "I(Y; Z | BoW): log loss of a probe on the log odds of a bag-of-words probe − log loss of a probe on "
            "these and "
            "the vectors, on validation rows, in bits; the bag-of-words probe is fitted on one half of train, the two "
            "others on the other half"
        ),
        range="(−∞, H(Y)]",
        direction="higher: more of the label is readable from the vectors than from the words",
        invariances=_AFFINE,
        source="Hewitt et al. 2021, with the bag of words entering by its log odds",
        margin=BITS,
        probe="semantic",
        against=("meaning", 2),
    ),
    Score(
        name="semantic_code_length",
        family="semantic",
        formula=(
            "bits per train row to send the labels given the vectors: blocks that end at 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, "
            "6.25, 12.5, 25, 50, 100 % of the rows, each coded by a probe fitted on those before"
        ),
        range="[0, ∞)",
        direction="lower: the label is read with fewer rows and more certainty",
        invariances=_AFFINE,
        source="Voita & Titov 2020 (online code)",
        margin=BITS,
        probe="semantic",
    ),
    Score(
        name="semantic_compression",
        family="semantic",
        formula="log2(number of classes) / code length per row",
        range="(0, ∞), 1 for no regularity",
        direction="higher: the label is read with fewer rows and more certainty",
        invariances=_AFFINE,
        source="Voita & Titov 2020",
        margin=Margin(0.05, relative=True),
        probe="semantic",
    ),
    Score(
        name="partial_spearman_gold",
        family="lexical",
        formula=(
            "partial Spearman correlation of cos(u, v) with the score (or with the label, 1: the same) given word "
            "overlap "
            "(Jaccard)"
        ),
        range="[−1, 1]",
        direction="higher: similarity follows meaning beyond wording",
        invariances=_COSINE,
        source="Kendall & Stuart 1961",
        margin=CORRELATION,
        against=("meaning", 4),
    ),
    Score(
        name="partial_spearman_overlap",
        family="lexical",
        formula="partial Spearman correlation of cos(u, v) with word overlap (Jaccard) given the score or label",
        range="[−1, 1]",
        direction="higher: similarity follows wording beyond meaning",
        invariances=_COSINE,
        source="Kendall & Stuart 1961",
        margin=CORRELATION,
        against=("meaning", 5),
    ),
    Score(
        name="sts_probe_spearman",
        family="semantic",
        formula=(
            "Spearman correlation of the score with a ridge regression on [u; v; |u−v|; u∗v]; fitted on train, "
            "penalty in {1, 10, 100, 1000} by R² in 3 folds"
        ),
        range="[−1, 1]",
        direction=_UP,
        invariances=_AFFINE,
        source="Conneau & Kiela 2018",
        margin=CORRELATION,
        order=210,
        probe="semantic",
        score="spearman",
    ),
    Score(
        name="sts_probe_pearson",
        family="semantic",
        formula="Pearson correlation of the same predictions",
        range="[−1, 1]",
        direction=_UP,
        invariances=_AFFINE,
        source="Conneau & Kiela 2018",
        margin=CORRELATION,
        probe="semantic",
        score="pearson",
    ),
    Score(
        name="sts_cosine_spearman",
        family="semantic",
        formula="Spearman correlation of the score with cos(u, v); nothing is fitted",
        range="[−1, 1]",
        direction="higher: similarity of vectors follows similarity of meaning",
        invariances=_COSINE,
        source="Reimers & Gurevych 2019",
        margin=CORRELATION,
        order=200,
        headline=(70, ("",)),
        probe="cosine",
        score="spearman",
    ),
    Score(
        name="sts_cosine_pearson",
        family="semantic",
        formula="Pearson correlation of the score with cos(u, v)",
        range="[−1, 1]",
        direction="higher: similarity of vectors follows similarity of meaning",
        invariances=_COSINE,
        source="Cer et al. 2017",
        margin=CORRELATION,
        probe="cosine",
        score="pearson",
    ),
    Score(
        name="lexical_word_content_accuracy",
        family="lexical",
        formula=(
            "accuracy of telling which of K mid-frequency words (in at least 5 and at most 2 % of the train "
            "sentences, the "
            "K = 100 most frequent of these) a sentence holds, by linear discriminant analysis; sentences with "
            "exactly one"
        ),
        range="[0, 1]",
        direction=_LEXICAL,
        invariances=_AFFINE,
        source="Conneau et al. 2018 (WC)",
        margin=ACCURACY,
        headline=(90, ("",)),
        probe="lexical_word_content",
        score="accuracy",
        against=("wording", 6),
    ),
    Score(
        name="lexical_word_content_skill",
        family="lexical",
        formula="(accuracy − majority) / (1 − majority) of the word-content probe",
        range="(−∞, 1]",
        direction=_LEXICAL,
        invariances=_AFFINE,
        source="Conneau et al. 2018; Wilks 2011",
        margin=SKILL,
        probe="lexical_word_content",
        score="skill",
        against=("wording", 0),
    ),
    Score(
        name="lexical_top_word_accuracy",
        family="lexical",
        formula=(
            "accuracy of predicting the most frequent word of the sentence (the first on ties), the 100 most frequent "
            "classes with at least 5 train sentences, by linear discriminant analysis"
        ),
        range="[0, 1]",
        direction=_LEXICAL,
        invariances=_AFFINE,
        source="arXiv 2606.05173, with words in place of its tokens (there cross-validated on validation)",
        margin=ACCURACY,
        headline=(100, ("",)),
        probe="lexical_top_word",
        score="accuracy",
        against=("wording", 7),
    ),
    Score(
        name="lexical_top_word_skill",
        family="lexical",
        formula="(accuracy − majority) / (1 − majority) of the top-word probe",
        range="(−∞, 1]",
        direction=_LEXICAL,
        invariances=_AFFINE,
        source="arXiv 2606.05173, with words in place of its tokens; Wilks 2011",
        margin=SKILL,
        probe="lexical_top_word",
        score="skill",
        against=("wording", 2),
    ),
    Score(
        name="lexical_bow_r2",
        family="lexical",
        formula=(
            "R² (targets weighted by variance) of a ridge regression from the vector to the counts of the 300 words "
            "that "
            "occur in most train sentences"
        ),
        range="(−∞, 1]",
        direction=_LEXICAL,
        invariances=_AFFINE,
        source="White et al. 2015 (bag-of-words recovery)",
        margin=Margin(0.02),
        against=("wording", 1),
    ),
    Score(
        name="lexical_length_spearman",
        family="lexical",
        formula=(
            "Spearman correlation of the number of words with a ridge regression from the vector to log(1 + number)"
        ),
        range="[−1, 1]",
        direction="higher: sentence length is linearly readable",
        invariances=_AFFINE,
        source="Adi et al. 2017",
        margin=CORRELATION,
        against=("wording", 4),
    ),
    Score(
        name="lexical_overlap_spearman",
        family="lexical",
        formula=(
            "Spearman correlation of the word overlap of a pair (Jaccard) with a ridge regression on [u; v; |u−v|; u∗v]"
        ),
        range="[−1, 1]",
        direction=_LEXICAL,
        invariances=_AFFINE,
        source="Conneau et al. 2018 (surface information), for pairs",
        margin=CORRELATION,
        against=("wording", 5),
    ),
)

_SHARES = {
    ("meaning",): "what is said, with the same words",
    ("words",): "which synonyms say it",
    ("syntax",): "in which frame it is said",
    ("meaning", "words"): "meaning with words",
    ("meaning", "syntax"): "meaning with syntax",
    ("words", "syntax"): "words with syntax",
    ("meaning", "words", "syntax"): "all three, and noise",
}
_SCORES += tuple(
    Score(
        name=f"{'_'.join(effects)}_share",
        family="lexical",
        formula=(
            f"variance component of {' × '.join(effects)} ({what}) / sum of all seven components; three-way random-"
            "effects analysis of variance of the vectors within each block of the crossed design, both sums over "
            "blocks; "
            "interval over families"
        ),
        range="(−∞, ∞), 0 for no such effect, the seven sum to 1; never clipped",
        direction="higher: vectors move more with it" if len(effects) == 1 else "higher: the effects do not add up",
        invariances=_COSINE.replace("rotation", "rotation, shift"),
        source="Cornfield & Tukey 1956; Searle, Casella & McCulloch 1992",
        margin=BITS,
        headline=(80, ("",)) if effects == ("meaning",) else None,
        against=("crossed", place),
    )
    for (effects, what), place in zip(_SHARES.items(), (0, 1, 2, 5, 6, 7, 8), strict=True)  # triplets between
)
_SCORES += (
    Score(
        name="triplet_accuracy",
        family="lexical",
        formula=(
            "share of triplets in which cos(anchor, same meaning in other words) > cos(anchor, other meaning of the "
            "same "
            "words), both others in the same frame; ties count a half"
        ),
        range="[0, 1], 0.5 by chance, 0 for a bag of words",
        direction="higher: meaning weighs more than wording",
        invariances=_COSINE,
        source="Zhu, Li & de Melo 2018 (triplets), with frames matched",
        margin=ACCURACY,
        against=("crossed", 3),
    ),
    Score(
        name="triplet_margin",
        family="lexical",
        formula=(
            "mean over the same triplets of cos(anchor, same meaning in other words) − cos(anchor, other meaning of "
            "the "
            "same words)"
        ),
        range="[−2, 2], negative for a bag of words",
        direction="higher: meaning weighs more than wording",
        invariances=_COSINE,
        source="Zhu, Li & de Melo 2018 (triplets), with frames matched",
        against=("crossed", 4),
    ),
)

RECORDS: dict[str, Score] = {record.name: record for record in _SCORES}
DEFINITIONS = {name: record.entry() for name, record in RECORDS.items()}
