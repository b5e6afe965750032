"""Planted bugs by someone who had read the tests too, where these seemed to look least."""

from tests.mutants.mutant import Mutant

MUTANTS = (
    # What eager computes by hand and compiled kernels usually compute for it.
    Mutant(
        "softmax_gradient_without_temperature_in_eager",
        "kernels/eager/_softmax.py",
        "g.sub_((p * g).sum(dim, keepdim=True)).mul_(p).div_(temperature)",
        "g.sub_((p * g).sum(dim, keepdim=True)).mul_(p)",
        "transforms take the formula, plain tensors on a CPU the compiled kernel: this one is for the rest",
    ),
    Mutant(
        "softmax_gradient_cancels",
        "kernels/eager/_softmax.py",
        "        g = g - g.gather(dim, where)\n",
        "",
        "1 − p of a confident class by the textbook",
    ),
    Mutant(
        "log_softmax_gradient_cancels",
        "kernels/eager/_softmax.py",
        "slope.scatter_(dim, seen.where, (own * others - other_g) / share).div_(temperature)",
        "slope.div_(temperature)",
        "the same for the logarithm",
    ),
    Mutant(
        "logsumexp_gradient_without_temperature_in_eager",
        "kernels/eager/_softmax.py",
        "result[part] = p.mul_(g[part]).div_(temperature)",
        "result[part] = p.mul_(g[part])",
        "the same for the normaliser",
    ),
    Mutant(
        "kept_axes_in_the_order_given",
        "kernels/eager/_softmax.py",
        "for axis in sorted(dim) if keepdim else ():",
        "for axis in dim if keepdim else ():",
        "axes put back in another order than from the front land in the wrong place",
    ),
    # Compiled kernels.
    Mutant(
        "half_rounded_up_at_a_tie",
        "kernels/cpu/native/lanes.py",
        "rounded = builder.add(word, builder.add(odd, constant(0x7FFF)))",
        "rounded = builder.add(word, constant(0x8000))",
        "bfloat16 rounds a tie to even",
    ),
    Mutant(
        "sum_of_blocks_without_what_rounding_lost",
        "kernels/cpu/native/rows.py",
        "lost = lost + ((sums - (grown - back)) + (block - back))",
        "lost = lost + (sums - (grown - back))",
        "half of Knuth's sum: the small terms that a large one swallows are gone",
    ),
    Mutant(
        "ties_forgotten_below_a_new_top",
        "kernels/cpu/native/rows.py",
        "fill_double(ties_so_far * lift * shrink * 0.125)",
        "fill_double(lift * shrink * 0.125)",
        "equal largest classes of an earlier block count once when a later block has a larger one",
    ),
    Mutant(
        "column_of_weights_taken_for_a_row",
        "kernels/cpu/_binary_cross_entropy.py",
        "if factor.numel() == columns and (factor.dim() == 0 or factor.shape[-1] == columns):",
        "if factor.numel() == columns:",
        "weights (N, 1) of square logits are one per row, not one per class",
    ),
    Mutant(
        "smoothing_computed_in_float32",
        "kernels/cpu/_cross_entropy.py",
        "computed_in(*dtypes, wide=adjusted or spread or soft)",
        "computed_in(*dtypes, wide=adjusted or soft)",
        "the gradient of a spread target is a difference of near numbers",
    ),
    Mutant(
        "log_sum_exp_of_ignored_rows_without_gradient",
        "kernels/cpu/native/cross_entropy.py",
        "if not kept and through == 0.0:",
        "if not kept:",
        "an ignored row has no loss, but its log-sum-exp may be used",
    ),
    Mutant(
        "call_kept_whatever_its_size",
        "kernels/cpu/_cross_entropy.py",
        "kept = (saved, call if call.z.numel() <= _KEPT_UP_TO else None, divisors)",
        "kept = (saved, call, divisors)",
        "holds on to logits that a checkpoint has let go",
    ),
    Mutant(
        "stored_kernels_outlive_their_sources",
        "kernels/cpu/_compile.py",
        "digest.update(source.read_bytes())",
        "digest.update(source.name.encode())",
        "after an upgrade the old machine code runs",
    ),
    Mutant(
        "stored_kernels_travel_to_other_processors",
        "kernels/cpu/_compile.py",
        "[*parts, llvm.get_host_cpu_features().flatten()]",
        "parts",
        "a home directory shared by two machines: an illegal instruction",
    ),
    # Linear losses.
    Mutant(
        "gradient_of_the_frozen_side",
        "kernels/_linear.py",
        "layer, wanted = Layer(features, weight, bias), tuple(ctx.needs_input_grad[1:4])",
        "layer, wanted = Layer(features, weight, bias), (True, True, bias is not None)",
        "autograd drops it, after it has cost a third of the time and a weight of memory",
    ),
    Mutant(
        "classes_left_on_axis_one",
        "functional/_linear.py",
        "target = target.movedim(axis, -1) if target.is_floating_point() else target",
        "target = target",
        "probabilities of several predictions per row are read as if the classes came last",
    ),
    Mutant(
        "log_sum_exp_left_flat",
        "functional/_linear.py",
        "lse.reshape(rows) if return_lse else lse",
        "lse",
        "the loss has the shape of the rows, its companion has not",
    ),
    Mutant(
        "binary_mean_over_rows",
        "kernels/_linear_binary_cross_entropy.py",
        "upstream = upstream / (shape[0] * shape[1])",
        "upstream = upstream / shape[0]",
        "the loss is a mean over elements, its gradient over rows",
    ),
    Mutant(
        "penalty_by_weights",
        "kernels/eager/_cross_entropy.py",
        "each / _count(len(target), None, guard, options) if options.z_loss else of_loss",
        "of_loss",
        "the z-loss has a denominator of its own",
    ),
    # Checks and modules.
    Mutant(
        "nan_weight_let_through",
        "functional/_checks.py",
        "wrong = ~(weight.detach() >= 0)  # True for NaN as well",
        "wrong = weight.detach() < 0",
        "NaN is not below 0",
    ),
    Mutant(
        "multi_label_head_without_options",
        "nn/heads.py",
        "            linear_bias=self.linear.bias,\n            pos_weight=self.pos_weight,\n            reduction=reduction,\n"
        "            focal_gamma=self.focal_gamma,\n            label_smoothing=self.label_smoothing,\n",
        "            linear_bias=self.linear.bias,\n            pos_weight=self.pos_weight,\n            reduction=reduction,\n",
        "options that are stored and never used",
    ),
    Mutant(
        "multi_class_head_without_z_loss",
        "nn/heads.py",
        "            label_smoothing=self.label_smoothing,\n            z_loss=self.z_loss,\n",
        "            label_smoothing=self.label_smoothing,\n",
        "the same",
    ),
    Mutant(
        "multi_label_temperature_upside_down",
        "nn/heads.py",
        "a row need not sum to 1.\"\"\"\n        return functional.sigmoid(logits / temperature)",
        "a row need not sum to 1.\"\"\"\n        return functional.sigmoid(logits * temperature)",
        "calibrated predictions would become overconfident",
    ),
    Mutant(
        "module_forgets_the_empty_rule",
        "nn/losses.py",
        '            empty=self.empty,\n            backend=self.backend,\n        )\n\n    def extra_repr(self) -> str:\n'
        '        """Return the sizes',
        '            backend=self.backend,\n        )\n\n    def extra_repr(self) -> str:\n        """Return the sizes',
        "one of a dozen options is not passed on",
    ),
)
