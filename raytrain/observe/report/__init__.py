"""A run's report: one HTML file that says what was learned, from what, and what it cost. Pure: facts in, page out.

It computes nothing that a producer should have written; it adds up, compares and draws. `facts` is what `collect`
gives; every key may be missing, and the page then says what is not there yet. The file loads nothing from anywhere:
its style and its few lines of script stand in it, and a content security policy forbids the rest. The invariant:
any facts give a page, and no text from a document is ever read as markup.
"""

from __future__ import annotations

from collections.abc import Callable

from raytrain.observe.notation import clip, text
from raytrain.observe.page import page
from raytrain.observe.report import corpus, documents, evaluation, money, origin, training
from raytrain.observe.report.header import header
from raytrain.observe.report.section import Facts, Section


def render(facts: Facts) -> str:
    """The page. Never raises for facts of an unexpected shape: they cost their own section, not the page."""
    drawn = [(s, _safely(s.draw, facts)) for s in SECTIONS]
    links = "".join(f'<a href="#{s.anchor}">{s.anchor.capitalize()}</a>' for s, body in drawn if body)
    missing = [s.absent for s, body in drawn if not body]
    body = "".join(
        f'<section id="{s.anchor}"><h2>{s.title}</h2>{f"<p class=lede>{s.lede}</p>" if s.lede else ""}{body}</section>'
        for s, body in drawn
        if body
    )
    if missing:
        items = "".join(f"<li>{m}</li>" for m in missing)
        body += f'<section id="absent"><h2>Not here yet</h2><ul class="absent">{items}</ul></section>'
    whole = f"{_safely(header, facts)}<nav>{links}</nav><main>{body}</main>{origin.footer(facts)}"
    return page(facts.get("run") or "run", whole)


def _safely(draw: Callable[[Facts], str], facts: Facts) -> str:
    try:
        return draw(facts)
    except Exception as error:  # a report that fails hides a run that did not
        return f'<p class="undrawn">This part could not be drawn: {text(clip(repr(error), 200))}.</p>'


SECTIONS: tuple[Section, ...] = (
    Section("training", "Training", "", "The loss curve starts with the first optimizer step.", training.training),
    Section(
        "peeks",
        "What comes next?",
        "The five likeliest next tokens after a prompt, as the model learned.",
        "Next-token guesses are noted before training, at a tenth and at the end.",
        evaluation.peeks,
    ),
    Section(
        "samples",
        "Samples",
        "Written by the finished model; the prompt is set in bold.",
        "Samples are written when the model is finished.",
        evaluation.samples,
    ),
    Section(
        "evaluation",
        "Evaluation",
        "The finished model on documents that it has never seen.",
        "Domains and the continuation task come with the evaluation of the finished model.",
        evaluation.evaluation,
    ),
    Section("data", "Data", "", "The data funnel comes with the corpus, at the step select.", corpus.funnel),
    Section(
        "reasons",
        "Why documents went",
        "A document may fail for many reasons; “sole” counts those that nothing else would have removed, which is what "
        "dropping the rule would bring back.",
        "Reasons come with the corpus.",
        corpus.reasons,
    ),
    Section(
        "thresholds",
        "What the rules decide by",
        "Documents by the numbers that rules ask for; what lies in shade is rejected. Bins may grow along the axis.",
        "Histograms come with the corpus.",
        corpus.thresholds,
    ),
    Section(
        "shares",
        "Shares before and after",
        "By bytes: what was read, and what is left to train on.",
        "Shares by source, domain, licence and language come with the corpus.",
        corpus.groups,
    ),
    Section(
        "rejected",
        "Rejected documents",
        "A sample by hash, the same every time. Open one to see the number that decided, and what offends, marked.",
        "No rejected document was kept for show.",
        documents.rejected,
    ),
    Section(
        "borderline",
        "Kept by little",
        "Documents that a slightly stricter rule would have rejected, the narrowest first.",
        "No document was kept by little.",
        documents.borderline,
    ),
    Section(
        "duplicates",
        "Pairs near the threshold",
        "Near-duplicates are decided by comparing the texts. Words that the other text lacks there are marked.",
        "No pair of documents was near the threshold for duplicates.",
        documents.gallery,
    ),
    Section(
        "work",
        "What the data cost",
        "CPU time of the work on shards, on all workers together, and the text that went through in each second of it. "
        "A first run compiles its kernels, too. Dollars are by elapsed time.",
        "The cost of the data comes with the first step.",
        money.work,
    ),
    Section(
        "time",
        "Time and money",
        "Every second of every paid node, in exactly one phase.",
        "Time and cost come with the first entries of the ledger.",
        money.time,
    ),
    Section(
        "lineage",
        "Lineage",
        "Each step read artifacts and left one; its id is the hash of what went in.",
        "No step has left an artifact.",
        origin.lineage,
    ),
    Section("recipe", "Recipe", "", "The recipe is not known.", origin.recipe),
    Section("events", "Events", "", "Nothing notable has happened.", origin.events),
)
