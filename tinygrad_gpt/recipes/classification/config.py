"""What a finetuning run depends on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tinygrad_gpt.backend.precision import POLICIES
from tinygrad_gpt.book import SPLITS
from tinygrad_gpt.errors import UsageError
from tinygrad_gpt.models.classifier import READS
from tinygrad_gpt.models.lora import BLOCK_LAYERS
from tinygrad_gpt.runs.saved_model import SHIPPED_BASE, is_encoder

__all__ = ["BAG_OF_WORDS", "BY_BASE", "CHOICES", "NO_FILES", "TRAINED", "FinetuneConfig"]

BAG_OF_WORDS = "bag-of-words"  # a teacher
NO_FILES = ("random", BAG_OF_WORDS)  # a base and a teacher that are not read from files

BY_BASE: dict[str, dict[str, Any]] = {  # what is chosen for a base where a setting is None
    "gpt2": {"read": "last-real", "lr": 5e-4, "dropout": 0.2, "lm_weight": 1.0, "pretrain_lr": 5e-4},
    "encoder": {"read": "mean", "lr": 1e-4, "dropout": 0.1, "lm_weight": 0.0, "pretrain_lr": 1e-4},
}
SUITED: Any = None

TRAINED = {"head": 0, "last-block": 1, "last-two-blocks": 2, "all": None}  # how many blocks; the head always
CHOICES = {
    "split": tuple(SPLITS), "train": (*TRAINED, "lora"), "read": READS, "padding": ("none", "dynamic", "fixed"),
    "class_weights": ("none", "balanced"), "init": ("gpt2", "book"), "order": ("length", "book"),
    "schedule": ("cosine", "constant"), "decay": ("matrices", "all"), "precision": tuple(POLICIES),
}


@dataclass(frozen=True)
class FinetuneConfig:
    """Everything a run depends on.

    Of `read`, `lr`, `dropout`, `lm_weight` and `pretrain_lr`, None means what suits the base, see `BY_BASE`.

    Args:
        data, text_column, label_column, label_separator, classes, encoding, skip_malformed: the labelled texts, as in
            `read_labelled`. With a separator, or several label columns, a text may have any number of labels; each then
            has a threshold, chosen on the validation texts.
        test: texts to judge on, in a file of their own that is read alike; 90 % of the others are trained on, 10 %
            validate, as in `split_for_test`. None: a part of ``data``.
        extra: more labelled texts of the same classes, read alike: 90 % are trained on, 10 % validate, none is tested.
        split: "by-text" shares no text between the parts; those that begin with "book" are the book's.
        split_seed: of the division by text, without a test file into 70 % training, 10 % validation, 20 % test texts.
        base: any model that `load_model` takes, a GPT-2 or an encoder, or "random" for a new one.
        vocabulary, vocab_size, n_ctx, n_embd, n_layer, n_head: of a new model: a vocabulary as in `load_vocabulary`, or
            the tokens of one to train on the training texts, and sizes.
        init: "gpt2" or "book", the initial values of the head, of a new model, and of LoRA's A.
        pretrain_epochs: passes over the training texts, without their labels, in which the base learns to predict them
            before it is finetuned; it ends when the loss on the validation texts has not fallen for two of them.
        pretrain_lr: AdamW's peak rate in them.
        unlabelled: a file of more such texts, one a line, or in ``text_column`` of a table; those that are among the
            labelled are left out.
        teachers: finished classifiers of the same classes, as `load_model` takes them, or "bag-of-words"; the run
            learns their probabilities, as `teachers.py` says, and those of the unlabelled texts.
        recombined: texts to make of pieces of the training texts, which the teachers label.
        train: what is trained besides the head: "head" (nothing), "last-block", "last-two-blocks", "all", or "lora".
        rank, alpha, targets: of LoRA, as in `apply_lora`, the targets with commas between. With "score" among them the
            head is adapted as well; else it is trained as a whole.
        read: where the scores come from, as in `Reading`.
        no_causal_mask: let tokens see those after them, as an encoder's always do.
        no_start: leave out the tokens around each text: the end-of-text token before it, or an encoder's two.
        context: tokens of a text that are read: "longest" (as many as the longest training text has), "model" (as many
            as the model takes), or a number; beyond a GPT-2's own context its positions are interpolated.
        padding: "dynamic" (to the longest text of a batch), "none" (a text a batch), or "fixed" (to the context, with
            end-of-text tokens, which are read as if they were text).
        epochs: passes over the training texts.
        batch_size, accumulate: texts computed together, and how many times that in an optimiser step.
        order: texts of about the same "length" share a batch, or the order of the "book"'s data loader.
        lr, schedule: AdamW's peak rate, and its course: "cosine" (a tenth of the run is warm-up, then down to 0) or
            "constant".
        layer_decay: the rate of each layer is this times that of the layer above it.
        unfreeze: share of the run in which the layers below the head begin to be trained, one after another.
        average: epochs at the end of the run over whose steps the weights are averaged; 0: those of the last step.
        weight_decay, max_norm: AdamW's decay, and the global norm to which gradients are clipped.
        decay: what decays: "matrices", or "all", biases and norms too, as in the book.
        dropout: of the model while it is finetuned.
        head_dropout: of what goes into the head.
        hide: share of the tokens that are replaced by others of their batch while the model is finetuned.
        precision: in which layers compute while it is, one of `POLICIES`; it is judged in float32.
        lm_weight: weight of the language-model loss on the training texts, added to the classification loss
            (Radford et al. 2018, section 3.2).
        class_weights: "balanced" weighs every class alike, however many texts it has: of N texts of K classes, the
            loss of one of a class of n counts N / (K · n) times.
        no_calibration: leave out the temperature that is fitted on the validation texts, as in `calibration.py`.
        unsure_below: probability below which the model's answers are "unsure"; 0: none is.
        seed: of the head's initial values, the order of the texts and the dropout masks.
        save_every: steps between states to resume from; 0: none, and a run that was stopped starts again.
        float16: store the weights in half precision.
    """

    data: str
    text_column: str | None = None
    label_column: str | Sequence[str] | None = None
    label_separator: str | None = None
    classes: str | None = None
    encoding: str = "utf-8"
    skip_malformed: bool = False
    test: str | None = None
    extra: str | None = None
    split: str = "by-text"
    split_seed: int = 123
    base: str = SHIPPED_BASE
    vocabulary: str | None = None
    vocab_size: int = 2048
    n_ctx: int = 256
    n_embd: int = 192
    n_layer: int = 4
    n_head: int = 4
    init: str = "gpt2"
    pretrain_epochs: int = 0
    pretrain_lr: float = SUITED
    unlabelled: str | None = None
    teachers: Sequence[str] = ()
    recombined: int = 0
    train: str = "all"
    rank: int = 16
    alpha: float = 16.0
    targets: str = ",".join(BLOCK_LAYERS)
    read: str = SUITED
    no_causal_mask: bool = False
    no_start: bool = False
    context: str = "model"
    padding: str = "dynamic"
    epochs: int = 6
    batch_size: int = 16
    accumulate: int = 1
    order: str = "length"
    lr: float = SUITED
    schedule: str = "cosine"
    layer_decay: float = 1.0
    unfreeze: float = 0.0
    average: int = 0
    weight_decay: float = 0.1
    decay: str = "matrices"
    max_norm: float = 1.0
    dropout: float = SUITED
    head_dropout: float = 0.0
    hide: float = 0.0
    precision: str = "float32"
    lm_weight: float = SUITED
    class_weights: str = "none"
    no_calibration: bool = False
    unsure_below: float = 0.0
    seed: int = 123
    save_every: int = 100
    float16: bool = False

    def __post_init__(self):
        if missing := [name for name in BY_BASE["gpt2"] if getattr(self, name) is None]:
            kind = "encoder" if self.base != "random" and is_encoder(self.base) else "gpt2"
            for name in missing:
                object.__setattr__(self, name, BY_BASE[kind][name])
        self._make_tuples()
        self._check_unlabelled()
        if self.split != "by-text" and (self.label_separator is not None or isinstance(self.label_column, tuple)):
            raise UsageError(f"split {self.split!r} is for texts of one class; with several labels use by-text")
        if self.label_separator == "":
            raise UsageError("label_separator is empty; give what is between the labels of a text, such as ;")
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise UsageError(f"{name} is {getattr(self, name)!r}; choose one of {', '.join(choices)}")
        if self.test is not None and self.split != "by-text":
            raise UsageError(f"split {self.split!r} makes its own test part; give it no test file")
        for name in ("epochs", "batch_size", "accumulate"):
            if not (isinstance(getattr(self, name), int) and getattr(self, name) > 0):
                raise UsageError(f"{name} is {getattr(self, name)!r}; give a whole number from 1 on")
        if not 0 < self.lr < float("inf"):
            raise UsageError(f"lr is {self.lr!r}; give a number above 0")
        if not (0 <= self.head_dropout < 1 and 0 <= self.hide < 1):
            raise UsageError(f"head_dropout is {self.head_dropout!r} and hide {self.hide!r}; give shares from 0 to "
                             "below 1")
        if not 0 <= self.unsure_below <= 1:
            raise UsageError(f"unsure_below is {self.unsure_below!r}; give a probability from 0 to 1")
        if not 0 < self.layer_decay <= 1:
            raise UsageError(f"layer_decay is {self.layer_decay!r}; give a factor above 0, at most 1")
        if not 0 <= self.average <= self.epochs:
            raise UsageError(f"average is {self.average!r}; give a number of the {self.epochs} epochs")
        if self.context not in ("longest", "model") and not (self.context.isascii() and self.context.isdecimal()
                                                             and int(self.context) > 0):
            raise UsageError(f"context is {self.context!r}; choose longest, model, or a number of tokens")
        if self.padding == "none" and self.batch_size > 1:
            raise UsageError(f"without padding a batch holds one text, not {self.batch_size}; use batch_size 1 and "
                             f"accumulate {self.batch_size}")
        if self.no_causal_mask and self.lm_weight:
            raise UsageError("without the causal mask a token sees the one that it should predict; set lm_weight to 0")

    def _make_tuples(self) -> None:
        """Of lists, as JSON has them, and of one teacher."""
        if isinstance(self.label_column, list):
            object.__setattr__(self, "label_column", tuple(self.label_column))
        teachers = [self.teachers] if isinstance(self.teachers, str) else self.teachers
        object.__setattr__(self, "teachers", tuple(teachers))

    def _check_unlabelled(self) -> None:
        if self.unlabelled is not None and not (self.pretrain_epochs or self.teachers):
            raise UsageError("unlabelled texts are for further pretraining or for teachers; set pretrain_epochs, to 5 "
                             "say, or give a teacher")
        if self.recombined and not self.teachers:
            raise UsageError("recombined texts have no labels of their own; give a teacher for them")

    @property
    def trains_language(self) -> float:
        """The weight of the language-model loss; 0 where nothing that is trained would change it."""
        return 0.0 if self.train == "head" else self.lm_weight
