"""Options of the public codes of MMT and MVD, and what does the same here: for those who come from there."""

from __future__ import annotations

MMT, PORT = "MMT's public code", "MVD's public codes"

ELSEWHERE = {
    "--dataset-source": (MMT, "--source"),
    "--dataset-target": (MMT, "--target"),
    "--data-dir": (MMT, "--data"),
    "--logs-dir": (MMT, "--output"),
    "--num-clusters": (MMT, "--clusters"),
    "--num-instances": (MMT, "--images, with --identities in place of the size of a batch"),
    "--batch-size": (MMT, "--identities and --images, whose product it is (in a test: --evaluate-batch)"),
    "--iters": (MMT, "--iterations (in stage 1: --pretrain-iterations)"),
    "--init-1": (MMT, "--start, the folder of a run with both networks of stage 1"),
    "--init-2": (MMT, "--start, the folder of a run with both networks of stage 1"),
    "--soft-ce-weight": (MMT, "--soft-ce W with --hard-ce 1-W"),
    "--soft-tri-weight": (MMT, "--soft-triplet W with --hard-triplet 1-W"),
    "--alpha": (MMT, "--ema-limit"),
    "--warmup-step": (MMT, "--pretrain-warmup-epochs, in epochs"),
    "--eval-step": (MMT, "--evaluate-every"),
    "--print-freq": (MMT, "--loss-every"),
    "--msmode": (PORT, "--mode graph or pynative, of the MindSpore backend"),
    "--device-target": (PORT, "--device"),
    "--gpu": (PORT, "--device-id"),
    "--data-path": (PORT, "--data"),
    "--pretrain": (PORT, "--weights"),
    "--sysu-mode": (PORT, "--search all or indoor"),
    "--regdb-mode": (PORT, "--search infrared-to-visible or visible-to-infrared"),
    "--optim": (PORT, "--optimiser"),
    "--lr": (PORT, "--rate (in stage 1 of mmt: --pretrain-rate)"),
    "--epoch": (PORT, "--epochs"),
    "--warmup-steps": (PORT, "--warmup-epochs, in epochs"),
    "--start-decay": (PORT, "--decay-start"),
    "--end-decay": (PORT, "--decay-end"),
    "--loss-func": (PORT, "--objective id, id+tri or full"),
    "--triloss": (PORT, "--metric triplet or centre"),
    "--drop": (PORT, "--dropout"),
    "--save-period": (PORT, "--save-period"),
    "--print-per-step": (PORT, "--loss-every"),
    "--tag": (PORT, "--output"),
    "--trial": (PORT, "--trials, how many training splits are trained in turn (of `evaluate`: --trial N)"),
    "--workers": (MMT, "nothing: images are decoded once, to a cache"),
    "--rr-gpu": (MMT, "nothing: the Jaccard graph is computed on the CPU, by all its cores"),
    "--lambda-value": (MMT, "nothing: 0, as its scripts have it"),
}
"""Option, written as here -> (whose it is, what does the same)."""


def hint(name: str) -> str:
    """Return a sentence that points from an option of a public code to ours, "" where it is none of theirs.

    >>> hint("--sysu_mode")
    "--sysu_mode is an option of MVD's public codes; here it is --search all or indoor."
    """
    known = ELSEWHERE.get(name.lower().replace("_", "-"))
    return f"{name} is an option of {known[0]}; here it is {known[1]}." if known else ""
