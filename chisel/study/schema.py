"""JSON schemas of the study and battery files, so that editors complete their keys.

`python -m chisel.study.schema` writes them beside the files that they describe; a test keeps them true.
"""

import json
from pathlib import Path
from typing import Any

from chisel.study.battery import Battery
from chisel.study.files import shipped
from chisel.study.study import Study


def schemas() -> dict[Path, dict[str, Any]]:
    """Every schema, by the file that holds it."""
    return {
        shipped("curricula") / "study.schema.json": Study.model_json_schema(),
        shipped("probes") / "battery.schema.json": Battery.model_json_schema(),
    }


if __name__ == "__main__":
    for path, schema in schemas().items():
        path.write_text(json.dumps(schema, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
