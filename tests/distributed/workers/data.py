"""The rows of data sections, read by every rank at once: folder of the results, file of the sections as JSON."""

import json
import sys
from pathlib import Path

import accelerate

from rlent.data import DataSection, MixturePart, load_data, split_held_out

folder, sections = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())
state = accelerate.PartialState(cpu=True)
found = []
for section in sections:
    parts = tuple(MixturePart(**part) for part in section.pop("mixture", []))
    data = load_data(DataSection(**section, mixture=parts))
    split = split_held_out(data.rows, 5, 0, data.questions)
    found.append(
        {
            "rows": data.rows.to_list(),
            "places": data.places,
            "questions": data.questions,
            "left_out": data.problems.left_out(),
            "train": split.train.to_list(),
            "held_out": split.held_out.to_list(),
        }
    )
(folder / f"rank-{state.process_index}.json").write_text(json.dumps(found))
