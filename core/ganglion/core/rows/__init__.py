"""The forms a data file may have, each read as an iterable of rows: JSON lists, JSON Lines, CSV and Arrow."""

from ganglion.core.rows.arrow_file import ArrowRows, ArrowWriter, Record
from ganglion.core.rows.csv_file import Cells, csv_rows, settled
from ganglion.core.rows.json_file import json_lines, json_list

__all__ = ["ArrowRows", "ArrowWriter", "Cells", "Record", "csv_rows", "json_lines", "json_list", "settled"]
