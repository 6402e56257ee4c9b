"""What `evalkit judge` says before it asks, and of what became certain while it does."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from evalkit.cli.verb import note, say
from evalkit.errors import Missing, Unknown, count

if TYPE_CHECKING:
    from evalkit.catalog import Catalog, Model
    from evalkit.cli.plans import Plan
    from evalkit.cli.shown import Shown, Wanted
    from evalkit.judge.showings import Pair
    from evalkit.until import News


def preflight(catalog: "Catalog", wanted: "Wanted", shown: "Shown", plans: "list[Plan]") -> None:
    """What is about to happen: what is judged, by whom, where, with whose key, for how much."""
    _what(wanted, shown)
    _who(plans)
    _beware(catalog, wanted, shown, plans)


def _what(wanted: "Wanted", shown: "Shown") -> None:
    real = shown.reviews
    how = "each answer alone" if shown.prompt.shows == 1 else f"orders: {shown.orders}"
    times = f" · {wanted.samples} times each" if wanted.samples > 1 else ""
    note(
        f"bank {wanted.bank} · {_compared(shown.pairs)} · prompt {shown.prompt_name} · {how}{times}"
    )
    if shown.part:
        note(f"  {shown.part}")
    most = "at most " if wanted.until else ""
    tests = count(shown.canaries, "canary", "canaries")
    note(f"  {most}{count(real, 'review')} + {tests} by each judge")
    if wanted.until:
        note(f"  {_goal(wanted)}")
    elif real and shown.prompt.shows == 2:
        note(f"  {_buys(shown)}")


def _who(plans: "list[Plan]") -> None:
    from evalkit.cli.running import priced, reached
    from evalkit.columns import padded, width

    longest = max(width(plan.model.name) for plan in plans)
    for plan in plans:
        kept = f", {plan.kept} kept" if plan.kept else ""
        parts = [f"  {padded(plan.model.name, longest)}", f"{plan.owed} owed{kept}"]
        parts.append(reached(plan.model))
        if plan.calls:
            tokens = plan.estimate
            parts.append(f"{_thousands(tokens.input)} tokens in, {_thousands(tokens.output)} out")
            parts.append(priced(plan.model, tokens))
        note("   ".join(parts))


def _beware(catalog: "Catalog", wanted: "Wanted", shown: "Shown", plans: "list[Plan]") -> None:
    if shown.identical:
        pairs = count(shown.identical, "pair of answers is", "pairs of answers are")
        note(f"  {pairs} the same: a tie by rule, no call")
    for model, lacking in shown.unanswered.items():
        say(f"{model} has no answer to {count(lacking, 'question')}; those are not judged")
    for plan in plans:
        for news in plan.until.known if plan.until else []:
            note(f"  {plan.model.name}: {said(news)}")
        for line in _kinship(catalog, plan.model, shown.pairs):
            say(line)
    if wanted.samples > 1 and not shown.prompt.sampling.temperature:
        say("samples drawn at temperature 0 are mostly the same; `sampling` in the prompt sets it")


def said(news: "News") -> str:
    """What became certain, what is left, and what that saves."""
    from evalkit.report.words import certainty
    from evalkit.until import BEST, WORSE

    saved = f"; {count(news.saved, 'call')} saved" if news.saved else ""
    if news.what == BEST:
        return f"{news.a} is the best: certain after {count(news.after, 'question')}{saved}"
    if news.what == WORSE:
        return (
            f"{news.a} is not the best: certain after {count(news.after, 'question')}, "
            f"{news.left} left{saved}"
        )
    left = f", {count(news.left, 'pair')} left"
    return f"{certainty(news.what, news.a, news.b or '', news.after)}{left}{saved}"


def _goal(wanted: "Wanted") -> str:
    if wanted.until == "best":
        return f"until the best is known; it drops out in {100 * wanted.alpha:g} of 100 at most"
    tie = f", or within {wanted.tie_zone:g} points" if wanted.tie_zone else ""
    return (
        "each pair until it is certain who is better"
        f"{tie}; {100 * wanted.alpha:g} of 100 may be wrong"
    )


def _buys(shown: "Shown") -> str:
    """How wide the interval of a win rate will be, at most."""
    from evalkit.stats.intervals import half_width

    points = 100 * half_width(shown.buys)
    all_ = "what all shards buy" if shown.part else "what it buys"
    return f"{all_}: the win rate of a pair to within {points:.0f} points (95%), or closer"


def _compared(pairs: "Sequence[Pair]") -> str:
    firsts = {first for first, _ in pairs}
    if len(firsts) == 1:
        return f"{', '.join(second for _, second in pairs)} against {firsts.pop()}"
    return count(len(pairs), "pair") + " of models"


def _thousands(tokens: float) -> str:
    return f"{tokens / 1000:,.0f}k" if tokens >= 10_000 else f"{tokens:,.0f}"


def _kinship(catalog: "Catalog", judge: "Model", pairs: "Sequence[Pair]") -> list[str]:
    """What a reader must know of a judge that is a contestant, or a relative of one."""
    from evalkit.catalog import family

    told = []
    for name in dict.fromkeys(name for pair in pairs for name in pair):
        try:
            id_ = catalog.find(name).id
        except (Unknown, Missing):
            id_ = name
        if judge.name == name or judge.id == id_:
            told.append(f"{judge.name} judges answers of its own ({name}): it may favour them")
        elif family(judge.id) == family(id_):
            told.append(f"{judge.name} and {name} are of one family: it may favour its kin")
    return told
