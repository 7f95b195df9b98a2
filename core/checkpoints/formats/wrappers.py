"""Where in a checkpoint the tensors of the network lie: below wrappers of any depth, beside anything."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from duoreid.core.checkpoints.formats.pickled import Located
from duoreid.core.errors import UserError

WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "weights")
"""Keys under which training scripts put the tensors of a checkpoint, in the order in which they are tried."""

NO_NETWORK = r"(?i).*(optim|sched|scaler|amp\b|rng|criterion|loss|hyper_parameters|callbacks|loops).*"
"""Keys of what lies beside a network and may hold tensors too."""

DEEPEST = 32


def visit(content: Any, act: Callable[[Located], Any]) -> None:
    """Call `act` for each tensor inside nested dictionaries, lists and tuples; of cycles it goes round once."""
    pending, seen = [content], set()
    while pending:
        value = pending.pop()
        if type(value) is Located:
            act(value)
        elif type(value) in (dict, list, tuple) and id(value) not in seen:
            seen.add(id(value))
            pending.extend(value.values() if type(value) is dict else value)


def unwrap(path: Path, content: Any) -> tuple[dict[str, Located], tuple[str, ...]]:
    """Return (tensors by name, names of everything else, "best_mAP = 0.7" for a single number).

    Wrappers are followed down to the dictionary that holds tensors. Of several networks beside each other ("model_1",
    "model_2") all are returned, their names behind the keys. UserError where there is none.
    """
    aside: list[str] = []
    tensors = _descend(path, content, holders(content), aside)
    if not tensors:
        held = f"the keys {', '.join(aside[:8])}" if aside else f"a {type(content).__name__}"
        raise UserError(
            f"{path} holds {held} and no dictionary of tensors, at its top or under {', '.join(WRAPPERS)}. Save the "
            "state_dict of the model."
        )
    return tensors, tuple(aside)


def _descend(
    path: Path, content: Any, holding: set[int], aside: list[str], *, alone: bool = False
) -> dict[str, Located]:
    """Follow wrappers down. holding: see `holders`. alone: of networks beside each other none is taken."""
    for _ in range(DEEPEST):
        if type(content) is not dict:
            return {}
        inner = [key for key, value in content.items() if type(key) is str and id(value) in holding]
        own = {key: value for key, value in content.items() if type(value) is Located}
        wrapper = next((key for key in WRAPPERS if key in inner), None)
        if own and wrapper is None:
            if not all(type(name) is str for name in own):
                raise ValueError("tensors whose names are no text")
            aside += [_shown(name, content[name]) for name in content if name not in own]
            return own
        networks = [wrapper] if wrapper else [key for key in inner if not re.fullmatch(NO_NETWORK, key[:200])]
        aside += [_shown(key, content[key]) for key in content if key not in networks]
        if len(networks) != 1:
            return {} if alone else _several(path, content, networks, holding, aside)
        content = content[networks[0]]
    raise UserError(f"{path} is refused: its dictionaries lie more than {DEEPEST} deep, or hold themselves.")


def _several(path: Path, content: dict, networks: list[str], holding: set[int], aside: list[str]) -> dict[str, Located]:
    """Return the tensors of networks beside each other, behind the key of each."""
    tensors: dict[str, Located] = {}
    for key in networks[:DEEPEST]:
        beside: list[str] = []
        inside = _descend(path, content[key], holding, beside, alone=True)
        tensors |= {f"{key}.{name}": tensor for name, tensor in inside.items()}
        aside += [f"{_shown(key)}.{name}" for name in beside]
    aside += [_shown(key) for key in networks[DEEPEST:]]
    return tensors


def holders(content: Any) -> set[int]:
    """Return the ids of the dictionaries that hold a tensor, at any depth of dictionaries; each is looked at once."""
    parents: dict[int, list[int]] = {}
    pending, seen, ids = [content], {id(content)}, []
    while pending:
        value = pending.pop()
        if type(value) is not dict:
            continue
        for item in value.values():
            if type(item) is Located:
                ids.append(id(value))
            elif type(item) is dict:
                parents.setdefault(id(item), []).append(id(value))
                if id(item) not in seen:
                    seen.add(id(item))
                    pending.append(item)
    holding: set[int] = set()
    while ids:
        one = ids.pop()
        if one not in holding:
            holding.add(one)
            ids += parents.get(one, ())
    return holding


def _shown(key: Any, value: Any = None) -> str:
    text = str(key) if type(key) in (str, int, float, bool, type(None)) else f"a {type(key).__name__.lstrip('_')}"
    text = text if len(text) <= 80 else f"{text[:77]}..."
    if type(value) is float:
        return f"{text} = {value:.6g}"
    return f"{text} = {value}" if type(value) is int and abs(value) < 10**12 else text
