"""The files in `deploy/` and the Dockerfile, and the tools of the system that look at them."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs
import pytest

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
SERVICE = DEPLOY / "kpiggybank.service"
SOCKET = DEPLOY / "kpiggybank.socket"
CLOUD_INIT = DEPLOY / "cloud-init.yaml"
DOCKERFILE = ROOT / "Dockerfile"

#: Where this is set, a tool that is missing is an error.
DEMAND = "KPIGGYBANK_DEMAND_DEPLOY_TOOLS"


def tool(name: str) -> str:
    """The path of a tool of the system; without it the test is skipped, or fails if demanded."""
    found = shutil.which(name)
    if found is None:
        assert not os.environ.get(DEMAND), f"there is no {name}, and {DEMAND} is set"
        pytest.skip(f"there is no {name} on this machine")
    return found


def unit_values(unit: Path, key: str) -> list[str]:
    """The values that a unit gives to a key, in order."""
    return re.findall(rf"^{key}=(.*)$", unit.read_text(), re.MULTILINE)


@attrs.frozen
class Instruction:
    """One instruction of a Dockerfile: RUN, COPY, and so on."""

    word: str
    text: str

    @property
    def command(self) -> list[str]:
        """Its exec form; fails if it is in shell form."""
        found = re.search(r"\[.*\]$", self.text)
        assert found, f"{self.word} is not in exec form: {self.text}"
        words = json.loads(found[0])
        assert isinstance(words, list)
        return words


def instructions(dockerfile: Path = DOCKERFILE) -> list[Instruction]:
    """The instructions of a Dockerfile, in order."""
    text = re.sub(r"^#.*\n", "", dockerfile.read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [Instruction(*line.split(maxsplit=1)) for line in lines if line]


def stages(all_of_them: Sequence[Instruction]) -> Iterator[list[Instruction]]:
    """The instructions of each stage, beginning with its FROM."""
    stage: list[Instruction] = []
    for each in all_of_them:
        if each.word == "FROM" and stage:
            yield stage
            stage = []
        stage.append(each)
    yield stage
