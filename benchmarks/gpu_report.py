"""What gpu.py has found, as the tables of docs/benchmarks.md."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from common import GPT2_124M, median, table

__all__ = ["flops_per_token", "peaks", "report"]

# Dense TFLOP/s by NVIDIA's data sheets: float32 without and with TF32 tensor cores, bfloat16 summed in float32.
PEAKS = {
    "H200": (67, 494, 989), "H100 PCIe": (51, 378, 756), "H100": (67, 494, 989), "A100": (19.5, 156, 312),
    "RTX 4090": (82.6, 82.6, 165), "RTX 3090": (35.6, 35.6, 71), "L4": (30.3, 60, 121),
}
PRECISIONS = ("float32", "tf32", "bfloat16")
POLICIES = (*PRECISIONS, "float16")
RIVALS = {"book": "torch, as in the book", "sdpa": "torch, SDPA", "compiled": "torch.compile"}
DRY = ["**A dry run at tiny sizes, without a GPU: everything runs, and no figure means anything.**"]
Found = Mapping[str, Any]
Blocks = list[dict[str, Any]]


def peaks(device: str) -> dict[str, float]:
    """FLOP/s of a device in each precision; empty for one that is not in the table."""
    words = set(device.split())
    known = next((row for name, row in PEAKS.items() if set(name.split()) <= words), ())
    return dict(zip(PRECISIONS, (1e12 * peak for peak in known), strict=False))


def flops_per_token(length: int, n_layer: int, n_embd: int, vocab_size: int, **_: int) -> float:
    """Of a training step: 6 for each weight that multiplies, and 12 L C T for attention, as in the PaLM paper."""
    weights = n_layer * 12 * n_embd * n_embd + vocab_size * n_embd
    return 6 * weights + 12 * n_layer * n_embd * length


def report(found: Found) -> str:
    """All that is known, as Markdown without a heading."""
    parts = [_machine(found["machine"]), *DRY * found["machine"]["dry"], _goals(found)]
    for name, section in (("tests", _tests), ("agreement", _agreement), ("training", _training),
                          ("finetuning", _finetuning), ("decoding", _decoding), ("shipped", _shipped),
                          ("profile", _profile), ("row-10", _row_10)):
        if name in found:
            failed = "error" in found[name]
            parts.append(_heading(found, name, name) + _errors([found[name]]) if failed else section(found))
    return "\n\n".join(parts)


def _machine(machine: Found) -> str:
    ours, torch = machine["ours"], machine.get("sdpa", {})
    return (f"`benchmarks/gpu.py`, {machine['name']} {machine['memory']}, driver {machine['driver'] or 'none'}, "
            f"Python {machine['Python']}, NumPy {ours.get('NumPy')}, CuPy {ours.get('CuPy')} (backend "
            f"{ours.get('backend')}), torch {torch.get('torch', 'none')} on {torch.get('device')}; {machine['date']}")


# -- figures of blocks


def seconds(blocks: Blocks) -> float | None:
    """The median, None if no block was finished."""
    measured = [block["seconds"] for block in blocks if "seconds" in block]
    return median(measured) if measured else None


def speed(ours: Blocks, rival: Blocks) -> float | None:
    """How many times as fast as the rival: the median over neighbouring blocks."""
    pairs = [b["seconds"] / a["seconds"] for a, b in zip(ours, rival, strict=False)
             if "seconds" in a and "seconds" in b]
    return median(pairs) if pairs else None


def _cell(value: float | None, form: str = ".2f") -> str:
    return "" if value is None else format(value, form)


def _step(found: Found, batch: str, variant: str) -> Blocks:
    return found.get("training", {}).get("batches", {}).get(batch, {}).get(variant, [])


def _utilisation(found: Found, batch: str, variant: str) -> float | None:
    taken, length = seconds(_step(found, batch, variant)), found["training"]["length"]
    peak = peaks(found["machine"]["name"]).get(variant.split()[-1])
    if taken is None or peak is None:
        return None
    return int(batch) * length * flops_per_token(length, **GPT2_124M) / taken / peak


# -- the goals


def _goals(found: Found) -> str:
    found = {name: part for name, part in found.items() if "error" not in part}
    rows = []
    for what, goal, value, form, least in _measured_goals(found):
        met = "" if value is None else "yes" if (value >= goal if least else value <= goal) else "no"
        rows.append((what, f"{'≥' if least else '≤'} {goal:g}", _cell(value, form) or "not measured", met))
    return table(("goal", "", "measured", "met"), rows)


def _measured_goals(found: Found) -> Iterator[tuple[str, float, float | None, str, bool]]:
    """What it is, the goal, the measured value, its format, and whether more is better."""
    batch = max(found.get("training", {}).get("batches", {"16": 0}), key=int)

    def beside(precision, rival):
        return speed(_step(found, batch, f"ours {precision}"), _step(found, batch, f"torch {rival} {precision}"))

    for precision in ("float32", "tf32"):
        for rival in ("book", "sdpa"):
            yield (f"training, {precision}, B {batch}: times the tokens/s of eager {RIVALS[rival]}", 1.0,
                   beside(precision, rival), ".2f", True)
    yield (f"training, bfloat16, B {batch}: times that of torch, SDPA, autocast", 0.8, beside("bfloat16", "sdpa"),
           ".2f", True)
    for ours, what, goal in (("ours", "", 0.3), ("ours, cuDNN", ", attention by cuDNN", 0.4)):
        yield (f"training, bfloat16, B {batch}{what}: model FLOP utilisation", goal,
               _utilisation(found, batch, f"{ours} bfloat16") if "training" in found else None, ".2f", True)
    for texts, blocks in found.get("decoding", {"1": {}, "32": {}}).items():
        if isinstance(blocks, dict):
            yield (f"decoding with a cache, B {texts}: times the tokens/s of eager torch", 1.0,
                   speed(blocks.get("ours", []), blocks.get("sdpa", [])), ".2f", True)
    for trained, goal in (("last-block", 10), ("all", 20)):
        taken = [run["seconds"] for run in found.get("finetuning", {}).get("runs", []) if "seconds" in run
                 and (run["side"], run["trained"]) == ("ours", trained)]
        yield (f"finetuning as in the book, {trained}: seconds, in the fastest precision", goal,
               min(taken, default=None), ".1f", False)
    worst = found.get("agreement", {}).get("ops", {}).get("worst", {})
    yield "ops, float32: largest difference from NumPy", 1e-5, max(worst.values(), default=None), ".1e", False


# -- the parts


def _heading(found: Found, name: str, text: str) -> str:
    return f"**{text}** ({found[name]['took']:.0f} s)"


def _errors(answers: Iterable[Found]) -> str:
    last = [answer["error"].strip().splitlines()[-1] for answer in answers if "error" in answer]
    return "".join(f"\n\nNot measured: `{line}`" for line in dict.fromkeys(last))


def _tests(found: Found) -> str:
    counts = ", ".join(f"{number} {what}" for what, number in found["tests"].items() if what != "took" and number)
    return f"{_heading(found, 'tests', 'Tests on this backend')}: {counts or 'none'}"


def _agreement(found: Found) -> str:
    ops, model = found["agreement"]["ops"], found["agreement"]["model"]
    worst = sorted(ops.get("worst", {}).items(), key=lambda item: -item[1])[:5]
    lines = [f"{_heading(found, 'agreement', 'CuPy beside NumPy, float32')}: "
             + ", ".join(f"{name} {difference:.1e}" for name, difference in worst)]
    lines += [f"op '{name}' fails: {why}" for name, why in ops.get("failures", {}).items()]
    if "loss" in model:
        lines.append(f"GPT-2: loss {model['loss']:.1e}, gradients {model['gradient']:.1e} ({model['of']}), relative")
    cases = found["agreement"]["kernels"].get("cases", {})
    rows = [(case, *(figures[name] if isinstance(figures[name], str) else f"{figures[name]:.1e}" for name in POLICIES))
            for case, figures in cases.items()]
    lines.append(table(("at a model's sizes, from NumPy's float64", *POLICIES), rows))
    return "\n\n".join(lines) + _errors((ops, model, found["agreement"]["kernels"]))


def _training(found: Found) -> str:
    rows, length = [], found["training"]["length"]
    for batch, blocks in found["training"]["batches"].items():
        for variant, measured in blocks.items():
            taken = seconds(measured)
            precision = variant.split()[-1]
            beside = [blocks.get(f"torch {rival} {precision}", []) for rival in RIVALS]
            ratios = [speed(measured, rival) if variant.startswith("ours") else None for rival in beside]
            memory = max((block["bytes"] for block in measured if "bytes" in block), default=None)
            rows.append((f"{variant}, B {batch}", _cell(taken and 1000 * taken, ".1f"),
                         _cell(taken and int(batch) * length / taken, ",.0f"),
                         _cell(_utilisation(found, batch, variant)), _cell(memory and memory / 2**30, ".1f"),
                         *(_cell(ratio) for ratio in ratios), str(sum("seconds" in block for block in measured))))
    header = ("training GPT-2 124M", "ms a step", "tokens/s", "utilisation", "GiB", *RIVALS.values(), "blocks")
    answers = (block for blocks in found["training"]["batches"].values() for some in blocks.values() for block in some)
    return (f"{_heading(found, 'training', f'Training, T {length}')}\n\n{table(header, rows)}\n\n"
            "The last columns: how many times as fast as that, in the same precision. Utilisation: 6 N + 12 L C T FLOP "
            "a token over the peak of the precision by the data sheet. GiB: taken from the device at most."
            + _errors(answers))


def _finetuning(found: Found) -> str:
    runs = found["finetuning"]["runs"]
    rows = [(f"{'ours' if run['side'] == 'ours' else 'torch'}, {run['trained']}, {run['precision']}",
             *(f"{figure:.1f}" for figure in (run["seconds"], run["prepared"], run["epochs"][0], run["epochs"][-1])),
             f"{1000 * run['first']:.1f}", f"{run['first_loss']:.4f}", f"{run['last_loss']:.4f}")
            for run in runs if "seconds" in run]
    header = ("finetuning", "seconds in all", "before step 1", "first epoch", "last epoch", "ms a step", "first loss",
              "last loss")
    title = _heading(found, "finetuning", "The book's classification, 124M from random weights, from end to end")
    return (f"{title}\n\n{table(header, rows)}\n\nOn {found['finetuning']['texts']}: all steps, the looks in between "
            f"and the accuracies at the end; one run each. torch: the model as in the book.{_errors(runs)}")


def _decoding(found: Found) -> str:
    rows, answers = [], []
    for batch, sides in found["decoding"].items():
        if isinstance(sides, dict):
            taken = {side: seconds(blocks) for side, blocks in sides.items()}
            answers += [block for blocks in sides.values() for block in blocks]
            ours = taken.get("ours")
            rows.append((f"B {batch}", *(_cell(1000 * value if value else None) for value in
                                         (ours, taken.get("sdpa"))), _cell(ours and int(batch) / ours, ",.0f"),
                         _cell(speed(sides.get("ours", []), sides.get("sdpa", [])))))
    return (f"{_heading(found, 'decoding', 'Decoding with a cache, float32')}\n\n"
            + table(("a token more", "ours ms", "torch ms", "our tokens/s", "times as fast"), rows) + _errors(answers))


def _shipped(found: Found) -> str:
    figures = found["shipped"]
    return (f"{_heading(found, 'shipped', 'Shipped models')}: the classifier reads {figures['texts']:,.0f} texts/s, "
            f"the storyteller writes {figures['tokens']:,.0f} tokens/s, one text at a time")


def _profile(found: Found) -> str:
    parts = [_heading(found, "profile", "Where a training step goes")]
    for precision in ("float32", "bfloat16"):
        figures = found["profile"][precision]
        if "error" in figures:
            parts.append(_errors([figures]).strip())
            continue
        ops = sorted(figures["ops"].items(), key=lambda item: -sum(item[1][:2]))
        rows = [(name, f"{calls:.0f}", f"{1000 * forward:.2f}", f"{1000 * backward:.2f}")
                for name, (forward, backward, calls) in ops]
        waited = sum(forward + backward for _, (forward, backward, _) in ops) + figures["rest"]
        rows += [("optimiser", "1", "", f"{1000 * figures['rest']:.2f}"),
                 ("all, each waited for", "", "", f"{1000 * waited:.2f}"),
                 ("a step that waits for none", "", "", f"{1000 * figures['whole']:.2f}")]
        parts.append(table((precision, "calls", "forward ms", "backward ms"), rows))
    return "\n\n".join(parts)


def _row_10(found: Found) -> str:
    return f"{_heading(found, 'row-10', 'Row 10 of the experiments')}\n\n```\n{found['row-10']['table'].strip()}\n```"
