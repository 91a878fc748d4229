"""The recipe fragment in every intervention's file is one that loads and composes."""

import re
import sys
import textwrap

import pytest
import yaml

from rlent.config import parse_interventions
from rlent.interventions import TABLE, Intervention, chain


@pytest.mark.parametrize("cls", TABLE.values(), ids=TABLE)
def test_fragments_load(cls: type[Intervention]) -> None:
    text = sys.modules[cls.__module__].__doc__
    assert text is not None
    fragments = re.findall(r"^    interventions:\n(?:^      .*\n)+", text, re.MULTILINE)
    assert fragments
    for fragment in fragments:
        given = yaml.safe_load(textwrap.dedent(fragment))["interventions"]
        links = chain(parse_interventions(given)).links
        assert cls.name in {link.config.name for link in links}
