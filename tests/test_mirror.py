"""Each module of the package has its test file at the same place in tests/, except those listed here."""

from pathlib import Path

TESTS = Path(__file__).resolve().parent
PACKAGE = TESTS.parent / "tinygrad_gpt"

# A module, or a folder with a slash at its end, and the test file that covers it.
TESTED_ELSEWHERE = {
    "__main__.py": "cli/test_main.py",
    "backend/memory.py": "backend/test_cupy.py",
    "backend/slices.py": "ops/test_sweep.py",
    "cli/commands/course_accuse.py": "cli/commands/test_course.py",
    "cli/commands/course_detective.py": "cli/commands/test_course.py",
    "cli/commands/course_check.py": "cli/commands/test_course.py",
    "cli/commands/course_publish.py": "cli/commands/test_course.py",
    "cli/commands/course_start.py": "cli/commands/test_course.py",
    "cli/commands/course_watch.py": "cli/commands/test_course.py",
    "engine/forms.py": "ops/test_sweep.py",
    "engine/guards.py": "engine/test_tape.py",
    "engine/mode.py": "engine/test_tape.py",
    "engine/operators.py": "engine/test_tensor.py",
    "engine/pending.py": "engine/test_tape.py",
    "engine/registry.py": "engine/test_tape.py",
    "nn/names.py": "nn/test_module.py",
    "nn/weights.py": "nn/test_module.py",
    "ops/": "ops/test_sweep.py",
    "recipes/classification/config.py": "recipes/classification/test_finetune.py",
    "recipes/classification/task.py": "recipes/classification/test_finetune.py",
    "recipes/experiments/config.py": "recipes/experiments/test_family.py",
    "recipes/experiments/jobs.py": "recipes/experiments/test_experiments.py",
    "recipes/instructions/config.py": "recipes/instructions/test_instruct.py",
    "recipes/instructions/evaluate.py": "recipes/instructions/test_judge.py",
    "recipes/instructions/respond.py": "recipes/instructions/test_instruct.py",
    "recipes/instructions/tuning.py": "recipes/instructions/test_instruct.py",
    "recipes/pretraining/config.py": "recipes/pretraining/test_pretrain.py",
    "recipes/pretraining/task.py": "recipes/pretraining/test_pretrain.py",
    "runs/progress.py": "cli/test_progress.py",
    "train/batch.py": "train/test_accumulation.py",
    "study/show.py": "study/test_derivatives.py",
}


def without_test_file():
    """Modules, or folders that are excepted as a whole, that lack the test file of their name."""
    folders = [name for name in TESTED_ELSEWHERE if name.endswith("/")]
    found = set()
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).as_posix()
        twin = TESTS / Path(name).with_name(f"test_{path.name}")
        if path.name != "__init__.py" and not twin.exists():
            found.add(next((folder for folder in folders if name.startswith(folder)), name))
    return found


def test_each_module_has_its_test_file():
    assert without_test_file() == TESTED_ELSEWHERE.keys()


def test_exceptions_name_files_that_exist():
    assert not [file for file in TESTED_ELSEWHERE.values() if not (TESTS / file).is_file()]
