"""What each probe metric means: family, formula, range, direction, invariances, source; it travels with the results."""

from __future__ import annotations

_AFFINE = "rotation, shift and scale of the vectors, up to the regularisation"
_COSINE = "rotation and scale of the vectors"
_UP = "higher: more of the label is linearly readable"
_LEXICAL = "higher: more of the wording is linearly readable"


def _entry(
    name: str, family: str, formula: str, range_: str, direction: str, invariances: str, source: str
) -> dict[str, str]:
    return {
        "name": name,
        "family": family,
        "formula": formula,
        "range": range_,
        "direction": direction,
        "invariances": invariances,
        "source": source,
    }


_ENTRIES: tuple[dict[str, str], ...] = (
    _entry(
        "semantic_accuracy",
        "semantic",
        "share of validation rows whose label a logistic regression predicts; fitted on train, standardised features, "
        "C in {0.001, 0.01, 0.1, 1}, past 512 features a tenth of these, by log loss in 3 folds; pairs as "
        "[u; v; |u−v|; u∗v]",
        "[0, 1]",
        _UP,
        _AFFINE,
        "Alain & Bengio 2017; Conneau et al. 2017 (pair features)",
    ),
    _entry(
        "semantic_macro_f1",
        "semantic",
        "unweighted mean over classes of F1 of the same predictions",
        "[0, 1]",
        _UP,
        _AFFINE,
        "van Rijsbergen 1979",
    ),
    _entry(
        "semantic_mcc",
        "semantic",
        "Matthews correlation of the same predictions with the labels",
        "[−1, 1], 0 for guessing",
        _UP,
        _AFFINE,
        "Matthews 1975; Gorodkin 2004 (several classes)",
    ),
    _entry(
        "semantic_skill",
        "semantic",
        "(accuracy − majority) / (1 − majority), majority: accuracy of the most frequent train class",
        "(−∞, 1], 0 for the majority class",
        _UP,
        _AFFINE,
        "normalised skill score, Wilks 2011",
    ),
    _entry(
        "semantic_log_loss",
        "semantic",
        "mean over validation rows of −log2 p(label), in bits",
        "[0, ∞)",
        "lower: the label is read with more certainty",
        _AFFINE,
        "Good 1952",
    ),
    _entry(
        "semantic_usable_bits",
        "semantic",
        "log loss of the train class shares − log loss of the probe, both on validation rows, in bits",
        "(−∞, H(Y)]; negative where the probe is worse than the class shares",
        _UP,
        _AFFINE,
        "Xu et al. 2020",
    ),
    _entry(
        "semantic_usable_share",
        "semantic",
        "usable bits / log loss of the train class shares",
        "(−∞, 1]",
        _UP,
        _AFFINE,
        "Xu et al. 2020",
    ),
    _entry(
        "semantic_selectivity",
        "semantic",
        "accuracy − accuracy of a probe with the same C on a control task: every word type has a class drawn at "
        "random by the class shares and a row has that of its rarest word",
        "[−1, 1]",
        "higher: the probe reads the label and does not just memorise words",
        _AFFINE,
        "Hewitt & Liang 2019",
    ),
    _entry(
        "semantic_conditional_bits",
        "semantic",
        "I(Y; Z | BoW): log loss of a probe on the log odds of a bag-of-words probe − log loss of a probe on these and "
        "the vectors, on validation rows, in bits; the bag-of-words probe is fitted on one half of train, the two "
        "others on the other half",
        "(−∞, H(Y)]",
        "higher: more of the label is readable from the vectors than from the words",
        _AFFINE,
        "Hewitt et al. 2021, with the bag of words entering by its log odds",
    ),
    _entry(
        "semantic_code_length",
        "semantic",
        "bits per train row to send the labels given the vectors: blocks that end at 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, "
        "6.25, 12.5, 25, 50, 100 % of the rows, each coded by a probe fitted on those before",
        "[0, ∞)",
        "lower: the label is read with fewer rows and more certainty",
        _AFFINE,
        "Voita & Titov 2020 (online code)",
    ),
    _entry(
        "semantic_compression",
        "semantic",
        "log2(number of classes) / code length per row",
        "(0, ∞), 1 for no regularity",
        "higher: the label is read with fewer rows and more certainty",
        _AFFINE,
        "Voita & Titov 2020",
    ),
    _entry(
        "partial_spearman_gold",
        "lexical",
        "partial Spearman correlation of cos(u, v) with the score (or with the label, 1: the same) given word overlap "
        "(Jaccard)",
        "[−1, 1]",
        "higher: similarity follows meaning beyond wording",
        _COSINE,
        "Kendall & Stuart 1961",
    ),
    _entry(
        "partial_spearman_overlap",
        "lexical",
        "partial Spearman correlation of cos(u, v) with word overlap (Jaccard) given the score or label",
        "[−1, 1]",
        "higher: similarity follows wording beyond meaning",
        _COSINE,
        "Kendall & Stuart 1961",
    ),
    _entry(
        "sts_probe_spearman",
        "semantic",
        "Spearman correlation of the score with a ridge regression on [u; v; |u−v|; u∗v]; fitted on train, "
        "penalty in {1, 10, 100, 1000} by R² in 3 folds",
        "[−1, 1]",
        _UP,
        _AFFINE,
        "Conneau & Kiela 2018",
    ),
    _entry(
        "sts_probe_pearson",
        "semantic",
        "Pearson correlation of the same predictions",
        "[−1, 1]",
        _UP,
        _AFFINE,
        "Conneau & Kiela 2018",
    ),
    _entry(
        "sts_cosine_spearman",
        "semantic",
        "Spearman correlation of the score with cos(u, v); nothing is fitted",
        "[−1, 1]",
        "higher: similarity of vectors follows similarity of meaning",
        _COSINE,
        "Reimers & Gurevych 2019",
    ),
    _entry(
        "sts_cosine_pearson",
        "semantic",
        "Pearson correlation of the score with cos(u, v)",
        "[−1, 1]",
        "higher: similarity of vectors follows similarity of meaning",
        _COSINE,
        "Cer et al. 2017",
    ),
    _entry(
        "lexical_word_content_accuracy",
        "lexical",
        "accuracy of telling which of K mid-frequency words (in at least 5 and at most 2 % of the train sentences, the "
        "K = 100 most frequent of these) a sentence holds, by linear discriminant analysis; sentences with exactly one",
        "[0, 1]",
        _LEXICAL,
        _AFFINE,
        "Conneau et al. 2018 (WC)",
    ),
    _entry(
        "lexical_word_content_skill",
        "lexical",
        "(accuracy − majority) / (1 − majority) of the word-content probe",
        "(−∞, 1]",
        _LEXICAL,
        _AFFINE,
        "Conneau et al. 2018; Wilks 2011",
    ),
    _entry(
        "lexical_top_word_accuracy",
        "lexical",
        "accuracy of predicting the most frequent word of the sentence (the first on ties), the 100 most frequent "
        "classes with at least 5 train sentences, by linear discriminant analysis",
        "[0, 1]",
        _LEXICAL,
        _AFFINE,
        "arXiv 2606.05173, with words in place of its tokens (there cross-validated on validation)",
    ),
    _entry(
        "lexical_top_word_skill",
        "lexical",
        "(accuracy − majority) / (1 − majority) of the top-word probe",
        "(−∞, 1]",
        _LEXICAL,
        _AFFINE,
        "arXiv 2606.05173, with words in place of its tokens; Wilks 2011",
    ),
    _entry(
        "lexical_bow_r2",
        "lexical",
        "R² (targets weighted by variance) of a ridge regression from the vector to the counts of the 300 words that "
        "occur in most train sentences",
        "(−∞, 1]",
        _LEXICAL,
        _AFFINE,
        "White et al. 2015 (bag-of-words recovery)",
    ),
    _entry(
        "lexical_length_spearman",
        "lexical",
        "Spearman correlation of the number of words with a ridge regression from the vector to log(1 + number)",
        "[−1, 1]",
        "higher: sentence length is linearly readable",
        _AFFINE,
        "Adi et al. 2017",
    ),
    _entry(
        "lexical_overlap_spearman",
        "lexical",
        "Spearman correlation of the word overlap of a pair (Jaccard) with a ridge regression on [u; v; |u−v|; u∗v]",
        "[−1, 1]",
        _LEXICAL,
        _AFFINE,
        "Conneau et al. 2018 (surface information), for pairs",
    ),
)

_SHARES = {
    "meaning": "what is said, with the same words",
    "words": "which synonyms say it",
    "syntax": "in which frame it is said",
    "meaning_words": "meaning with words",
    "meaning_syntax": "meaning with syntax",
    "words_syntax": "words with syntax",
    "meaning_words_syntax": "all three, and noise",
}
_ENTRIES += tuple(
    _entry(
        f"{effect}_share",
        "lexical",
        f"variance component of {effect.replace('_', ' × ')} ({what}) / sum of all seven components; three-way random-"
        "effects analysis of variance of the vectors within each block of the crossed design, both sums over blocks; "
        "interval over families",
        "(−∞, ∞), 0 for no such effect, the seven sum to 1; never clipped",
        "higher: vectors move more with it" if "_" not in effect else "higher: the effects do not add up",
        _COSINE.replace("rotation", "rotation, shift"),
        "Cornfield & Tukey 1956; Searle, Casella & McCulloch 1992",
    )
    for effect, what in _SHARES.items()
)
_ENTRIES += (
    _entry(
        "triplet_accuracy",
        "lexical",
        "share of triplets in which cos(anchor, same meaning in other words) > cos(anchor, other meaning of the same "
        "words), both others in the same frame; ties count a half",
        "[0, 1], 0.5 by chance, 0 for a bag of words",
        "higher: meaning weighs more than wording",
        _COSINE,
        "Zhu, Li & de Melo 2018 (triplets), with frames matched",
    ),
    _entry(
        "triplet_margin",
        "lexical",
        "mean over the same triplets of cos(anchor, same meaning in other words) − cos(anchor, other meaning of the "
        "same words)",
        "[−2, 2], negative for a bag of words",
        "higher: meaning weighs more than wording",
        _COSINE,
        "Zhu, Li & de Melo 2018 (triplets), with frames matched",
    ),
)

DEFINITIONS: dict[str, dict[str, str]] = {entry["name"]: entry for entry in _ENTRIES}
