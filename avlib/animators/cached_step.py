"""One step of a decoder layer over cached keys and values, with its gradient by hand."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

EPSILON = 1e-5  # of the norms


class KeyValueCache:
    """What a layer knows of the frames so far, and in `token`, what ties its next frame to the last in backward. The graph
    holds `known` and never this, which would make a circle that nobody lets go."""

    def __init__(self, context: int, heads: int, weights: tuple[Tensor, ...]):
        self.known, self.token = CachedStep(context, heads, weights), None

    def drop(self, frames: int):
        """Forgets the last `frames` that were added, as long as no gradient is wanted."""
        self.known.count -= frames


class CachedStep:
    """Keys and values of the frames so far, the last `context` of them, and the layer's own weights: how a state comes
    about, and by hand how its gradient does."""

    def __init__(self, context: int, heads: int, weights: tuple[Tensor, ...]):
        self.context, self.heads, self.weights, self.count = context, heads, weights, 0
        self.rows: Tensor | None = None  # (2, N, room, d), N = B * heads; the first `count` are filled
        self.pushed: Tensor | None = None  # their gradient, as far as it is known
        self.reached, self.differentiable = 0, False
        self.steps: list[tuple] = []  # what the weights' gradient will be made of

    def step(
        self, x: Tensor, frames: int, bias: Tensor, memory: tuple[Tensor, ...], kept: tuple[Tensor, ...] | None
    ) -> tuple[Tensor, tuple]:
        """See `AlignedDecoderLayer.forward`. Returns the state and what its gradient needs."""
        qkv, qkv_bias, out, out_bias, up, up_bias, down, down_bias, *norms = self.weights
        attention, said, heard, hidden, contracted = kept or (None,) * 5
        width = x.shape[-1]
        new = torch.addmm(qkv_bias, x, qkv.T).view(-1, frames, 3, self.heads, width // self.heads)
        query, *new = new.permute(2, 0, 3, 1, 4).flatten(1, 2).unbind()
        self._add(new)
        begin, end = max(0, self.count - self.context), self.count
        keys, values = self.rows[0, :, begin:end], self.rows[1, :, begin:end]
        if attention is not None:
            attention = attention.view(-1, frames, attention.shape[-1])[..., : bias.shape[-1]]
        weights = torch.baddbmm(bias, query, keys.transpose(1, 2), alpha=query.shape[-1] ** -0.5).softmax(-1)
        context = torch.bmm(_times(weights, attention), values)
        context = context.view(-1, self.heads, frames, context.shape[-1]).transpose(1, 2).reshape(x.shape)
        x1, *norm1 = _norm(x + _times(torch.addmm(out_bias, context, out.T), said), *norms[:2])
        listened, cross = _listen(x1, memory, self.heads)
        x2, *norm2 = _norm(x1 + _times(listened, heard), *norms[2:4])
        h = _times(torch.addmm(up_bias, x2, up.T).relu_(), hidden)
        x3, *norm3 = _norm(x2 + _times(torch.addmm(down_bias, h, down.T), contracted), *norms[4:])
        kept = attention, said, heard, hidden, contracted
        return x3, ((begin, end), (x, query, weights, context, x1, x2, h, *norm1, *norm2, *norm3, *kept), cross)

    def _add(self, new: list[Tensor]):
        """Keys and values (N, T, d) of the next frames."""
        count, frames, width = new[0].shape
        after = self.count + frames
        if self.rows is None or after > self.rows.shape[2]:
            # what backward will ask for stays where it is; else what no frame attends to any more is left behind
            known = self.count if self.differentiable else min(self.count, max(self.context - frames, 0))
            rows = new[0].new_empty(2, count, 2 * (known + frames), width)
            if known:
                rows[:, :, :known] = self.rows[:, :, self.count - known : self.count]
            self.rows, self.count, after = rows, known, known + frames
        self.rows[0, :, self.count : after] = new[0]
        self.rows[1, :, self.count : after] = new[1]
        self.count = after

    def push(
        self,
        push: Tensor,
        span: tuple[int, int],
        saved: tuple[Tensor, ...],
        cross: tuple[Tensor, ...],
        memory: tuple[Tensor, ...],
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Backward through a `step`: from the gradient of its state to those of x and of the memory."""
        x, query, weights, context, x1, x2, h = saved[:7]
        norm1, norm2, norm3, (attention, said, heard, hidden, contracted) = (
            saved[7:10],
            saved[10:13],
            saved[13:16],
            saved[16:],
        )
        qkv, _, out, _, up, _, down, _, *norms = self.weights
        (begin, end), frames = span, query.shape[1]
        if end >= self.reached:  # passes go from the last frame to the first: a new one begins
            self.pushed, self.steps = self.rows.new_zeros(*self.rows.shape[:2], end, self.rows.shape[3]), []
        self.reached = end

        push2 = _norm_back(push, norm3, *norms[4:])
        down_push = _times(push2, contracted)
        up_push = torch.ops.aten.threshold_backward(_times(down_push @ down, hidden), h, 0)
        push2 = torch.addmm(push2, up_push, up)
        push1 = _norm_back(push2, norm2, *norms[2:4])
        listened, memory = _listen_back(_times(push1, heard), x1, memory, cross, self.heads)
        push1 = push1 if listened is None else push1 + listened
        push0 = _norm_back(push1, norm1, *norms[:2])
        out_push = _times(push0, said)
        heads = (out_push @ out).view(-1, frames, self.heads, query.shape[-1]).transpose(1, 2).flatten(0, 1)

        keys, values = self.rows[0, :, begin:end], self.rows[1, :, begin:end]
        scores = torch._softmax_backward_data(
            _times(heads @ values.transpose(1, 2), attention), weights, -1, weights.dtype
        )
        scores = scores * query.shape[-1] ** -0.5
        self.pushed[0, :, begin:end].baddbmm_(scores.transpose(1, 2), query)
        self.pushed[1, :, begin:end].baddbmm_(_times(weights, attention).transpose(1, 2), heads)
        # all that later frames want of these frames' keys and values has gathered by now
        new = torch.stack((scores @ keys, *self.pushed[:, :, end - frames : end])).unflatten(1, (-1, self.heads))
        qkv_push = new.permute(1, 3, 0, 2, 4).reshape(len(x), -1)
        self.steps.append(
            (x, qkv_push, context, out_push, x2, up_push, h, down_push, push1, *norm1, push2, *norm2, push, *norm3)
        )
        return torch.addmm(push0, qkv_push, qkv), memory

    def gradients(self) -> list[Tensor]:
        """Of the weights, by all steps that `push` went through since it began with the last."""
        rows = [torch.cat(part) for part in zip(*self.steps)]
        self.steps = []
        found = []
        for inputs, push in zip(rows[0:8:2], rows[1:8:2]):
            found += [push.T @ inputs, push.sum(0)]
        for n, at in enumerate(range(8, 20, 4)):
            found += _norm_back(
                rows[at], rows[at + 1 : at + 4], *self.weights[8 + 2 * n : 10 + 2 * n], (False, True, True)
            )
        return found


class _Frames(torch.autograd.Function):
    """`_Known.step` with gradient. Backward runs from the last call to the first, which the token that is handed on makes
    sure of; no call holds a copy of what came before it, and the weights' gradient is made once, by `_Weights`."""

    @staticmethod
    def forward(ctx, x, token, known, frames, bias, kept, *memory):
        ctx.set_materialize_grads(False)
        state, (ctx.span, saved, cross) = known.step(x, frames, bias, memory, kept)
        ctx.known, ctx.counts = known, (len(saved), len(cross))
        ctx.save_for_backward(*saved, *cross, *memory)
        return state, x.new_empty(0)

    @staticmethod
    @once_differentiable
    def backward(ctx, push, _):
        saved, cross = ctx.counts
        tensors = ctx.saved_tensors
        push = torch.zeros_like(tensors[0]) if push is None else push
        push, memory = ctx.known.push(
            push, ctx.span, tensors[:saved], tensors[saved : saved + cross], tensors[saved + cross :]
        )
        return push, None, None, None, None, None, *memory


class _Weights(torch.autograd.Function):
    """The token that the first of `_Frames` gets: what stands before them all, and so comes last in backward."""

    @staticmethod
    def forward(ctx, known, *weights):
        ctx.set_materialize_grads(False)
        ctx.known, known.differentiable = known, True
        ctx.save_for_backward(*weights)  # so that a change of them before backward is noticed
        return weights[0].new_empty(0)

    @staticmethod
    @once_differentiable
    def backward(ctx, _):
        ctx.saved_tensors
        return None, *ctx.known.gradients()


def _times(x: Tensor, kept: Tensor | None) -> Tensor:
    return x if kept is None else x * kept


def _norm(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
    """Normalised rows, and what `_norm_back` needs."""
    y, mean, scale = torch.native_layer_norm(x, weight.shape, weight, bias, EPSILON)
    return y, x, mean, scale


def _norm_back(push: Tensor, saved: list[Tensor], weight: Tensor, bias: Tensor, wanted=(True, False, False)):
    """The gradient of x; of weight and bias where those are `wanted`."""
    x, mean, scale = saved
    found = torch.ops.aten.native_layer_norm_backward(push, x, weight.shape, mean, scale, weight, bias, wanted)
    return found[0] if wanted[0] else found[1:]


def _listen(x: Tensor, memory: tuple[Tensor, ...], heads: int) -> tuple[Tensor, tuple[Tensor, ...]]:
    """What rows (M, D) attend to in their memory, and what its gradient needs."""
    if len(memory) == 1:
        return memory[0], ()
    keys, offsets, values = memory
    scores = torch.baddbmm(offsets[:, None], x[:, None], keys)  # (M, 1, N)
    weights = scores.view(len(x), heads, -1).softmax(-1)
    return torch.bmm(weights.view(len(x), 1, -1), values)[:, 0], (weights,)


def _listen_back(
    push: Tensor, x: Tensor, memory: tuple[Tensor, ...], saved: tuple[Tensor, ...], heads: int
) -> tuple[Tensor | None, tuple[Tensor, ...]]:
    """From the gradient of what was heard to those of x, None where it had no say, and of the memory."""
    if len(memory) == 1:
        return None, (push,)
    (keys, offsets, values), (weights,) = memory, saved
    scores = torch.bmm(values, push[:, :, None]).view_as(weights)
    scores = torch._softmax_backward_data(scores, weights, -1, weights.dtype).view(len(x), 1, -1)
    wanted = torch.bmm(keys, scores.transpose(1, 2))[:, :, 0]
    return wanted, (x[:, :, None] * scores, scores[:, 0], weights.view(len(x), -1, 1) * push[:, None])
