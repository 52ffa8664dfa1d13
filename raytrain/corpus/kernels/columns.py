"""What the numbers of a text are called and mean: the vocabulary of the rules.

Definitions only, no code. A character is a code point. A word is what `str.split()` gives (splitter `whitespace`).
A line is the text between two line ends without the blanks around it, if anything is left; a paragraph is a run of
lines without an empty line between them, joined by line ends. A ratio over nothing is 0.
"""

from __future__ import annotations

SPLITTER = "whitespace"
STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")  # Gopher, section A.1.1
SHORT_LINE = 30  # characters; FineWeb's short_line_length
FEW_WORDS = 3  # C4: lines with fewer words went
JAVASCRIPT = ("javascript",)
POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
COLUMNS = (
    "characters",
    "word_count",  # words with a letter or digit
    "symbol_words",  # words without
    "mean_word_length",  # characters, over word_count
    "longest_word",  # characters
    "alpha_word_ratio",  # words with a letter / words
    "stop_words",  # how many of STOP_WORDS occur, as they stand
    "hash_ratio",  # "#" / words
    "ellipsis_ratio",  # "..." and "…" / words
    "lines",
    "paragraphs",
    "bullet_line_ratio",  # lines that start with • - *
    "ellipsis_line_ratio",  # lines that end with ... or …
    "terminal_punct_ratio",  # lines that end as C4 wants it
    "short_line_ratio",  # lines of at most SHORT_LINE characters
    "few_words_line_ratio",  # lines of fewer than FEW_WORDS words
    "javascript_line_ratio",  # lines with that word, in any case
    "policy_line_ratio",  # lines with one of C4's policy phrases
    "dup_line_ratio",  # lines that stood before in the document / lines
    "dup_line_char_ratio",  # their characters / characters
    "dup_paragraph_ratio",
    "dup_paragraph_char_ratio",
    "newline_ratio",  # line ends / words
    "sentences",  # [.!?…؟।]+ then closing marks then a blank or the end; or [。！？]+
    "lorem_ipsum",  # 1 where the phrase occurs, in any case
    "curly_brackets",  # number of {
    # The commonest n-gram that occurs at least twice (of equally common ones the longest): its count times its
    # characters, blanks between words included / characters.
    "top_2gram_ratio",
    "top_3gram_ratio",
    "top_4gram_ratio",
    # Characters of n-grams that stood before, without blanks, going on behind each / characters.
    "dup_5gram_ratio",
    "dup_6gram_ratio",
    "dup_7gram_ratio",
    "dup_8gram_ratio",
    "dup_9gram_ratio",
    "dup_10gram_ratio",
)
COUNTS = frozenset(
    ("characters", "word_count", "symbol_words", "longest_word", "stop_words", "lines", "paragraphs", "sentences")
) | {"lorem_ipsum", "curly_brackets"}
