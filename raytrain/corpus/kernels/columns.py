"""What the numbers of a text are called and mean: the vocabulary of the rules.

Definitions only, no code. A character is a code point; a letter, digit or blank is what Python's str methods say. A
word is what the splitter gives (splitters.py); where a line's words are counted they are those between blanks. A line
is the text between two line ends without the blanks around it, if anything is left; a paragraph is a run of lines
without an empty line between them, joined by line ends. A ratio over nothing is 0.
"""

from __future__ import annotations

SPLITTERS = ("whitespace", "unicode", "datatrove")  # the first is the default
SHORT_LINE = 30  # characters; FineWeb's short_line_length
LONG_LINE = 200  # characters; mC4's paragraph
FEW_WORDS = 3  # C4: lines with fewer words went
LONGEST_WORD = 1000  # C4's code: lines with a longer one went
# By the name of the column that counts them. English: Gopher, section A.1.1; others: FineWeb2's configs.
STOP_WORDS = {
    "stop_words": "the be to of and that have with",
    "stop_words_de": "der und die in von im den des mit das er dem als wurde für",
    "stop_words_es": "de la en el y a que del los se por un con una las su",
    "stop_words_fr": "de la le et à en l' des du les est d' un une il dans par au",
    "stop_words_pl": "w i na z do się roku od a jest przez po jako oraz o został był nie",
    "stop_words_ru": "в и на с года по году из был к не от что за для его как а он также до после",
}
LOREM_IPSUM, JAVASCRIPT = "lorem ipsum", "javascript"
POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
WIDGETS = ("items in cart", "read more", "sign-in")  # RefinedWeb, table of line-wise corrections, as DCLM has it
COUNTERS = (
    "likes shares comments retweets reposts quotes bookmarks upvotes downvotes downloads views followers"  # "3 likes"
)
WIDGET_LINE = 10  # words; RefinedWeb looks for them in lines that are no longer
COLUMNS = (
    "characters",
    "word_count",  # words with a letter or digit
    "symbol_words",  # words without
    "mean_word_length",  # characters, over word_count
    "longest_word",  # characters
    "alpha_word_ratio",  # words with a letter / words
    *STOP_WORDS,  # how many words of the list occur, as they stand
    "hash_ratio",  # "#" / words
    "ellipsis_ratio",  # "..." and "…" / words
    "lines",
    "paragraphs",
    "bullet_line_ratio",  # lines that start with • - *
    "ellipsis_line_ratio",  # lines that end with ... or …
    "terminal_punct_ratio",  # lines that end as C4 wants it
    "full_stop_line_ratio",  # lines that end in a full stop, question or exclamation mark of any script, no quotation
    "short_line_ratio",  # lines of at most SHORT_LINE characters
    "long_lines",  # lines of at least LONG_LINE characters
    "few_words_line_ratio",  # lines of fewer than FEW_WORDS words
    "javascript_line_ratio",  # lines with that word, in any case
    "policy_line_ratio",  # lines with one of C4's policy phrases
    "cut_word_ratio",  # words that RefinedWeb's line-wise corrections would cut / words between blanks
    "dup_line_ratio",  # lines that stood before in the document / lines
    "dup_line_char_ratio",  # their characters / characters
    "dup_line_text_ratio",  # the same / characters but line ends
    "dup_paragraph_ratio",
    "dup_paragraph_char_ratio",
    "newline_ratio",  # line ends / words
    "sentences",  # [.!?…؟।]+ then closing marks then a blank or the end; or [。！？]+
    # Of the lines that C4 keeps, whatever they end in: sentences, of which ellipses, initials and e.g. end none, and
    # what follows a line's last counts as one more; and {, before the policies are looked for.
    "c4_sentences",
    "c4_curly_brackets",
    "lorem_ipsum",  # 1 where the phrase occurs, in any case
    "curly_brackets",  # number of {
    "non_alphanumeric_ratio",  # characters that are no letter, digit or blank / characters
    "digit_ratio",  # digits and other numbers / characters
    "uppercase_ratio",  # capital letters / characters
    "blank_ratio",  # blanks and line ends / characters
    "bracket_ratio",  # round brackets / characters
    "url_ratio",  # characters of words that begin with www. or hold :// / characters
    # The commonest n-gram (of equally common ones the first): its count times its characters, with a blank between
    # words / characters.
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
    (
        *("characters", "word_count", "symbol_words", "longest_word", "lines", "paragraphs", "long_lines"),
        *("sentences", "c4_sentences", "lorem_ipsum", "curly_brackets", "c4_curly_brackets"),
        *STOP_WORDS,
    )
)
# Of these a column holds first a count and at the end a share: what it is divided by.
PER_WORD = ("alpha_word_ratio", "hash_ratio", "ellipsis_ratio", "newline_ratio")
PER_LINE = tuple(name for name in COLUMNS if name.endswith("_line_ratio")) + ("terminal_punct_ratio",)
PER_PARAGRAPH = ("dup_paragraph_ratio",)
PER_CHARACTER = tuple(
    name
    for name in COLUMNS
    if name.endswith(("_char_ratio", "gram_ratio"))
    or name in ("non_alphanumeric_ratio", "digit_ratio", "uppercase_ratio", "blank_ratio", "bracket_ratio", "url_ratio")
)
