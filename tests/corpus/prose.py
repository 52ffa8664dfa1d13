"""English-looking text to test with: seeded, every document of it different, sentences and paragraphs of sane size."""

from __future__ import annotations

import random

_NOUNS = (
    "river harbour winter letter garden engine mountain teacher market window captain village orchard bridge lantern "
    "kitchen forest journey station painter meadow clock library weather candle soldier island doctor carriage mirror"
)
_VERBS = "carried found watched answered followed repaired crossed remembered described opened painted measured"
_ADJECTIVES = "old quiet bright narrow distant wooden gentle broken early silver heavy pleasant curious northern"
NOUNS, VERBS, ADJECTIVES = _NOUNS.split(), _VERBS.split(), _ADJECTIVES.split()
LINKS = ["and then", "although", "because", "while", "until", "so that", "before", "after which"]
PLACES = "near the shore|in the evening|without a word|over the hills|at last|with great care|of the town|to the end"


def sentence(draw: random.Random) -> str:
    def part() -> str:
        subject = f"the {draw.choice(ADJECTIVES)} {draw.choice(NOUNS)}"
        place = draw.choice(PLACES.split("|"))
        return f"{subject} {draw.choice(VERBS)} the {draw.choice(NOUNS)} that {draw.choice(VERBS)} {place}"

    words = f"{part()} {draw.choice(LINKS)} {part()}" if draw.random() < 0.6 else part()
    return words[0].upper() + words[1:] + draw.choice(".....!?")


def document(seed: int, sentences: int = 30) -> str:
    """About 100 bytes a sentence, four sentences a paragraph."""
    draw = random.Random(seed)
    written = [sentence(draw) for _ in range(sentences)]
    return "\n\n".join(" ".join(written[i : i + 4]) for i in range(0, sentences, 4))


def edited(text: str, seed: int, share: float) -> str:
    """The text with a share of its words replaced: each replaced word breaks five word 5-grams."""
    draw = random.Random(seed)
    words = text.split(" ")
    for i in draw.sample(range(len(words)), round(share * len(words))):
        words[i] = draw.choice(NOUNS)
    return " ".join(words)
