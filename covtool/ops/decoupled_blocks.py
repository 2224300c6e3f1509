"""Decoupled convolutions on a CPU, a block of images at a time.

Written as a formula, the operator passes over its maps some thirty times, and each pass waits for
the memory. Here all operations between two convolutions are done on a few images that are in the
cache, forward and backward. For the backward pass are kept the input, two numbers for each norm,
and one map of the response's size: the response itself, which the next layer most likely keeps as
well, or the cosines where g needs them.

Slopes come from the rows of the tables. Comparisons are written as arithmetic: torch's Booleans
take several times as long as products.
"""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor

from covtool.ops.block_terms import Span, inverse_norm, over_filters, summed
from covtool.ops.decoupling import Decoupling
from covtool.ops.magnitudes import NEGLIGIBLE
from covtool.ops.patches import Box, Geometry, by_group, convolve, energies, kernel_size
from covtool.ops.precision import full_precision
from covtool.ops.python_backward import differentiates_in_python, hooks_take_what_is_kept

_BLOCK = 2**18
"""Elements of a block for each thread: 1 MiB of float32, about what a core's own cache holds."""
_FILTERS = 16
"""A block is convolved by itself where its features are so many times as many as the filters."""
_FEW = 4
"""Numbers of norms are kept where so many times as many make up the response, else made again."""
_SMALLEST_STRENGTH = 1e-30
"""Where h is smaller, the norm is nothing to ρ, and the gradient through it nothing to others."""

_INPUTS = 4

Formula = Callable[[Decoupling, Geometry, Tensor, Tensor, Tensor | None], Tensor]
Inputs = tuple[Tensor, Tensor, Tensor | None, Tensor]
"""Features, filters, their norms where g is not the cosine, and ρ."""
Gradients = list[Tensor | None]


class Step(NamedTuple):
    """What an operator computes.

    Attributes:
        functions: h and g, without a factor.
        geometry: Stride, padding in numbers, dilation, groups.
        formula: The same operator as autograd can differentiate it twice.
        differentiable: Whether a backward pass may follow.
    """

    functions: Decoupling
    geometry: Geometry
    formula: Formula
    differentiable: bool


def applicable(features: Tensor, filters: Tensor) -> bool:
    """Return whether blocks pay here, and whether Python's backward pass will be seen."""
    # First of all whether anything is recorded: even a comparison of sizes would be.
    return (
        differentiates_in_python()
        and features.device.type == filters.device.type == "cpu"
        and features.dtype == filters.dtype
        and features.dtype in (torch.float32, torch.float64)
        and features.ndim == 4
        and features.numel() > 0
        and not torch.is_autocast_enabled("cpu")
    )


def apply(step: Step, features: Tensor, filters: Tensor, size: Tensor | None) -> Tensor:
    """Return the operator's response, (B, O, H', W').

    Args:
        step: What to compute.
        features: Shape (B, C, H, W). Not modified.
        filters: Shape (O, C / groups, kH, kW); of norm 1 where g is not the cosine.
        size: Norms of the filters before that, (O, 1, 1); None where g is the cosine.
    """
    norm = None
    if step.functions.follow is not None:
        norm = block_norm(features.detach(), kernel_size(filters), step.geometry)
        step.functions.follow(norm)
    radius = step.functions.current_radius(features)
    response: Tensor = _InBlocks.apply(step, norm, features, filters, size, radius)
    return response


@torch.no_grad()
def block_norm(features: Tensor, kernel: tuple[int, int], geometry: Geometry) -> Tensor:
    """Return the norm of every patch, (B, groups, H', W'), without a gradient."""
    box = Box.of(kernel, geometry)
    whole = Span(slice(0, len(features)), _images_of_a_block(features))
    return torch.cat([_norm(features[part], box, geometry.groups) for _, part in whole.blocks()])


def _norm(features: Tensor, box: Box, groups: int) -> Tensor:
    return energies(features, box, groups).clamp_min_(NEGLIGIBLE**2).sqrt_()


class _InBlocks(torch.autograd.Function):
    """The operator, with a backward pass that makes its own way through the blocks."""

    @staticmethod
    def forward(ctx: Any, step: Step, norm: Tensor | None, *inputs: Any) -> Tensor:
        work = _Work(step, inputs)
        response, kept, terms = work.forward(norm)
        if step.differentiable:  # nor do tensors of torch.inference_mode count their versions
            # Beside autograd, which would refuse to go back after `relu_(response)`; hooks do not.
            beside = kept is None and not hooks_take_what_is_kept()
            ctx.response = response.detach() if beside else None
            kept = response.detach() if kept is None and not beside else kept
            ctx.step, ctx.version, ctx.images = step, response._version, work.images
            ctx.save_for_backward(*inputs, kept, *(term for block in terms for term in block))
            ctx.counts = [len(block) for block in terms]
        return response

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors  # once: what checkpointing has computed again is given once
        *inputs, kept = saved[: _INPUTS + 1]
        needed = ctx.needs_input_grad[2:]
        with full_precision(gradient):  # a backward pass may be called where autocast is on
            if torch.is_grad_enabled():  # to be differentiated again
                return None, None, *_by_autograd(ctx.step, tuple(inputs), needed, gradient)
            work = _Work(ctx.step, tuple(inputs), ctx.images)
            if kept is None:
                kept = ctx.response
            # A response that has been changed in place since. Hooks may return a copy, which has
            # changed another number of times: then it is made once more for nothing.
            if work.size is None and kept._version != ctx.version:
                kept, _, _ = work.forward(None)
            terms = iter(saved[_INPUTS + 1 :])
            rows = [tuple(islice(terms, count)) for count in ctx.counts]
            found = _Backward(work, needed).gradients(gradient, kept, rows)
        pairs = zip(inputs, found, strict=True)
        return None, None, *(g if g is None else g.reshape(x.shape) for x, g in pairs)


def _by_autograd(
    step: Step, inputs: Inputs, needed: tuple[bool, ...], gradient: Tensor
) -> Gradients:
    """Return the gradients as functions of the inputs and of the incoming gradient."""
    # Views: where an input comes from another one, the engine would go on from it to that one, and
    # what lies between would count twice.
    features, filters, radius = (x.view_as(x) for x in (inputs[0], inputs[1], inputs[3]))
    size = None if inputs[2] is None else inputs[2].view_as(inputs[2])
    own = features, filters, size, radius
    functions = step.functions._replace(radius=lambda: radius, follow=None)
    response = step.formula(functions, step.geometry, features, filters, size)
    wanted = [x for x, need in zip(own, needed, strict=True) if need and x is not None]
    found = iter(torch.autograd.grad(response, wanted, gradient, create_graph=True))
    return [next(found) if need else None for need in needed]


class _Numbers(NamedTuple):
    """What a block's norms give, (b, G, 1, H', W'), or (b, G, O / G, H', W') by a filter's ρ."""

    norm: Tensor
    strength: Tensor
    ratio: Tensor


class _Work:
    """A step at its inputs, forward; maps of a block are (b, G, O / G, H', W').

    Attributes:
        functions: h and g.
        geometry: Stride, padding in numbers, dilation, groups.
        features: Shape (B, C, H, W).
        filters: Shape (O, C / G, kH, kW).
        size: Norms of the filters, (G, O / G, 1, 1); None where g is the cosine.
        radius: ρ, shape () or (G, O / G, 1, 1).
        box: The box under the kernel.
        images: Images of a block.
    """

    def __init__(self, step: Step, inputs: Inputs, images: int | None = None) -> None:
        self.functions, self.geometry = step.functions, step.geometry
        self._differentiable = step.differentiable
        self.features, self.filters, size, radius = inputs
        self._trains_radius = radius.requires_grad and self.functions.radius is not None
        groups = self.geometry.groups
        by_filter = (groups, len(self.filters) // groups, 1, 1)
        self.size = None if size is None else size.reshape(by_filter)
        self.radius = radius.reshape(()) if radius.numel() == 1 else radius.reshape(by_filter)
        self.box = Box.of(kernel_size(self.filters), self.geometry)
        self.images = images or _images_of_a_block(self.features)

    def spans(self) -> Iterator[Span]:
        """Return the images of each convolution."""
        count = len(self.features)
        # Small filters cost nothing to be read again, and leave the response in the cache.
        small = self.filters.numel() * _FILTERS <= self.images * self.features[0].numel()
        step = self.images if small else count
        for start in range(0, count, step):
            yield Span(slice(start, min(start + step, count)), self.images)

    def forward(
        self, norm: Tensor | None
    ) -> tuple[Tensor, Tensor | None, list[tuple[Tensor, ...]]]:
        """Return response, cosines where g needs them, and each block's terms for `_Backward`.

        Args:
            norm: Norms of all patches; None to compute those of a block when it is in the cache.
        """
        response: Tensor | None = None
        cosines: Tensor | None = None
        terms = []
        for span in self.spans():
            convolved = convolve(self.features[span.images], self.filters, self.geometry)
            if response is None:
                # A convolution of all images at once is changed in place.
                response = self.for_all(convolved)
                if self.size is not None:
                    response, cosines = torch.empty_like(response), response
            for block, part in span.blocks():
                numbers = self.numbers(part, norm)
                maps = self.grouped(convolved[block]), self.grouped(response[part])
                self._respond(*maps, numbers, None if cosines is None else cosines[part])
                few = cosines is None or numbers.strength.numel() * _FEW <= maps[0].numel()
                keep = self._differentiable and few
                terms.append(self.terms(numbers) if keep else ())
        assert response is not None
        return response, cosines, terms

    def numbers(self, part: slice, norm: Tensor | None = None) -> "_Numbers":
        """Return what follows from the norms of a block, or from those of all patches."""
        if norm is None:
            found = _norm(self.features[part], self.box, self.geometry.groups)
        else:
            found = norm[part]
        found = found.unsqueeze(2)
        strength = self.functions.strength(found, self.radius)
        return _Numbers(found, strength, strength / found)

    def _respond(
        self, convolved: Tensor, response: Tensor, numbers: "_Numbers", cosines: Tensor | None
    ) -> None:
        """Write the response of a block, and its cosines where there are any."""
        if cosines is None or self.size is None:
            torch.mul(convolved, numbers.ratio, out=response)
            return
        cosines = torch.div(convolved, numbers.norm, out=self.grouped(cosines))
        # Rounding may put a cosine beyond 1, where the arc sine is NaN.
        activation = self.functions.activation(cosines.clamp(-1, 1))
        torch.mul(activation.mul_(numbers.strength), self.size, out=response)

    def terms(self, numbers: "_Numbers") -> tuple[Tensor, ...]:
        """Return what the backward pass multiplies with; the last only for a trained ρ.

        Where g is the cosine: h/‖x‖; the slope of its logarithm by half of the energy; that of h
        by ρ over h. Else: h; h/‖x‖; 1/‖x‖; the slope of h by half of the energy; that by ρ.
        """
        (norm, strength, ratio), functions, radius = numbers, self.functions, self.radius
        slope, inverse = functions.slope(norm, strength, radius), inverse_norm(norm)
        by_radius = []
        if self._trains_radius:
            by_radius = [functions.radius_slope(norm, strength, slope, radius)]
        if self.size is not None:
            return strength, ratio, inverse, slope * inverse, *by_radius
        bounded = strength.clamp_min(_SMALLEST_STRENGTH)
        by_energy = (slope / bounded).sub_(inverse).mul_(inverse)
        return ratio, by_energy, *(by / bounded for by in by_radius)

    def for_all(self, maps: Tensor) -> Tensor:
        """Return maps themselves where they are of all images, else room for those of all."""
        if len(maps) == len(self.features):
            return maps
        last = maps.is_contiguous(memory_format=torch.channels_last) and not maps.is_contiguous()
        layout = torch.channels_last if last else torch.contiguous_format
        shape = (len(self.features), *maps.shape[1:])
        return torch.empty(shape, dtype=maps.dtype, device=maps.device, memory_format=layout)

    def grouped(self, maps: Tensor) -> Tensor:
        """Return a view of maps with the filters by group."""
        return by_group(maps, self.geometry.groups)


class _Backward:
    """The way back from a response: gradients to features, filters, their norms, and ρ.

    Args:
        work: The way there.
        needed: Which of them are needed.
    """

    def __init__(self, work: _Work, needed: tuple[bool, ...]) -> None:
        self._work = work
        to_features, to_filters, to_size, to_radius = needed
        self._mask = to_features, to_filters, False  # as torch's convolution has it, with a bias
        self._features: Tensor | None = None
        self._filters: Tensor | None = None
        self._size = torch.zeros_like(work.size) if to_size and work.size is not None else None
        self._radius = torch.zeros_like(work.radius) if to_radius else None

    def gradients(
        self, gradient: Tensor, kept: Tensor, terms: list[tuple[Tensor, ...]]
    ) -> Gradients:
        """Return the gradients for that of the response.

        Args:
            gradient: Shape (B, O, H', W').
            kept: The response, or the cosines.
            terms: Of each block.
        """
        work, rows = self._work, iter(terms)
        through = self._by_cosine if work.size is None else self._by_angle
        for span in work.spans():
            to_convolved = torch.empty_like(kept[span.images])
            to_energies = []
            for block, part in span.blocks():
                maps = work.grouped(gradient[part]), work.grouped(kept[part])
                out = work.grouped(to_convolved[block])
                found = next(rows) or work.terms(work.numbers(part))
                to_energies.append(through(*maps, found, out))
            self._through_convolution(span, to_convolved, to_energies)
        if self._size is not None and work.size is not None:
            self._size.div_(work.size)  # the sums are of the answers times the sizes
        return [self._features, self._filters, self._size, self._radius]

    def _by_cosine(
        self, gradient: Tensor, response: Tensor, terms: tuple[Tensor, ...], out: Tensor
    ) -> Tensor:
        """Write the gradient to a block's convolution; return that to half of its energies."""
        ratio, by_energy, *by_radius = terms
        torch.mul(gradient, ratio, out=out)
        answered = gradient * response
        if self._radius is not None:
            self._radius += summed(answered * by_radius[0], self._radius)
        return over_filters(answered, by_energy)

    def _by_angle(
        self, gradient: Tensor, cosines: Tensor, terms: tuple[Tensor, ...], out: Tensor
    ) -> Tensor:
        """As `_by_cosine`, from the cosines."""
        strength, ratio, inverse, steepness, *by_radius = terms
        functions, size = self._work.functions, self._work.size
        assert size is not None
        inside = cosines.clamp(-1, 1)
        activation = functions.activation(inside)
        slope = functions.activation_slope(inside, activation)
        weighted = gradient * size
        # No slope where rounding has put a cosine at or beyond 1, as torch's clamp has it.
        torch.mul(slope.mul_(cosines.abs().lt_(1)).mul_(ratio), weighted, out=out)
        turned = over_filters(out, inside)
        answered = activation.mul_(weighted)
        if self._radius is not None:
            self._radius += summed(answered * by_radius[0], self._radius)
        to_energy = over_filters(answered, steepness).sub_(turned.mul_(inverse))
        if self._size is not None:
            self._size += summed(answered.mul_(strength), self._size)
        return to_energy

    def _through_convolution(
        self, span: Span, to_convolved: Tensor, to_energies: list[Tensor]
    ) -> None:
        """Add a span's gradients to those of the features and the filters."""
        work = self._work
        stride, padding, dilation, groups = work.geometry
        features = work.features[span.images]
        x, w, _ = torch.ops.aten.convolution_backward(
            *(to_convolved, features, work.filters, None),
            *(stride, padding, dilation, False, (0, 0), groups, self._mask),
        )
        if w is not None:
            self._filters = w if self._filters is None else self._filters.add_(w)
        if x is None:
            return
        if self._features is None:
            self._features = work.for_all(x)
        for (block, part), halves in zip(span.blocks(), to_energies, strict=True):
            spread = work.box.spread(halves.squeeze(2), *features.shape[2:]).unsqueeze(2)
            # The energy's slope is twice the features: the halves make up for it.
            maps = by_group(x[block], groups), by_group(features[block], groups)
            torch.addcmul(*maps, spread, out=by_group(self._features[part], groups))


def _images_of_a_block(features: Tensor) -> int:
    """Return how many images all threads' caches hold, at least one."""
    return max(_BLOCK * torch.get_num_threads() // features[0].numel(), 1)
