"""What a wrapper is, and two that change no estimate: one settles labels, one tells of each evaluation."""

from collections.abc import Callable

from sfumato.diffusion.denoiser import Denoiser
from sfumato.errors import LabelError
from sfumato.utils.shapes import Images, Labels, Times


class Wrapper(Denoiser):
    """A denoiser around another, of the same schedule, shape, classes and columns."""

    def __init__(self, inner: Denoiser) -> None:
        super().__init__(inner.schedule, inner.image_shape, inner.label_names, inner.columns, inner.label_column)
        self.inner = inner


class Labelled(Wrapper):
    """A denoiser whose labels are settled: it needs none, and refuses any."""

    def __init__(self, inner: Denoiser, labels: Labels | None) -> None:
        super().__init__(inner)
        self.labels = labels

    def forward(self, x_t: Images, t: Times, labels: Labels | None = None) -> Images:
        """E[x_0 | x_t, the settled labels]."""
        if labels is not None:
            raise LabelError("this denoiser has its labels already, and was given others", "Call it without labels.")
        denoised: Images = self.inner(x_t, t, self.labels)
        return denoised


class Observed(Wrapper):
    """A denoiser that says how many images it looked at, after every evaluation; for progress bars."""

    def __init__(self, inner: Denoiser, on_evaluation: Callable[[int], None]) -> None:
        super().__init__(inner)
        self.on_evaluation = on_evaluation

    def forward(self, x_t: Images, t: Times, labels: Labels | None = None) -> Images:
        """The inner estimate."""
        denoised: Images = self.inner(x_t, t, labels)
        self.on_evaluation(len(x_t))
        return denoised
