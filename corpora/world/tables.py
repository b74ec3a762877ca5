"""The state behind the database toolbox: three small tables, and the tools that change them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from corpora.lexicon import NOUNS, invented_name, invented_word
from corpora.world.base import State, content_id, error

MOST_ROWS = 12
_TEXT = ("name", "city", "owner", "brand", "country", "supplier", "label", "team")
_WHOLE = ("quantity", "year", "points", "seats", "pages", "age", "stock")
_DECIMAL = ("price", "weight", "rating", "distance", "budget", "speed")
OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "!=": operator.ne, ">": operator.gt, "<": operator.lt, ">=": operator.ge,
    "<=": operator.le,
}  # fmt: skip


def open_tables(rng: Random) -> State:
    """A fresh state: three tables of some rows, with columns of all kinds."""
    tables: dict[str, Any] = {}
    while len(tables) < 3:
        name = rng.choice(NOUNS) + "s" if rng.random() < 0.6 else invented_word(rng, 2)
        texts, number = rng.sample(_TEXT, 2), rng.choice(_DECIMAL)
        columns = {texts[0]: "text", texts[1]: "text", rng.choice(_WHOLE): "integer", number: "number"}
        table: dict[str, Any] = {"columns": columns, "rows": []}
        for _ in range(rng.randint(3, 5)):
            row = draw_row(rng, table)
            table["rows"].append({"id": content_id("row", name, row), **row})
        tables.setdefault(name, table)
    return {"tables": tables, "last": None, "recent": ""}


def draw_value(rng: Random, kind: str) -> Any:
    """A value for a column of this kind: text, integer or number."""
    if kind == "text":
        return invented_name(rng)
    return rng.randint(1, 3000) if kind == "integer" else round(rng.uniform(0.5, 400), rng.choice((1, 2)))


def draw_row(rng: Random, table: Mapping[str, Any]) -> dict[str, Any]:
    """Values for every column of the table."""
    return {column: draw_value(rng, kind) for column, kind in table["columns"].items()}


def run_query(state: State, name: str, arguments: Mapping[str, Any]) -> Any:
    """Do a schema-valid call of the database's tools on the state."""
    if name == "list_tables":
        state |= {"last": None, "recent": name}
        return list(state["tables"])
    table = state["tables"].get(arguments["table"])
    if table is None:
        return error(f"no table {arguments['table']}")
    wrong = _unknown_column(table, arguments)
    if wrong is not None:
        return error(f"no column {wrong} in {arguments['table']}")
    repeated = state["recent"] == name  # "that row" would not say which of two
    state |= {"last": None, "recent": name}
    result = _RUN[name](state, table, arguments)
    if repeated:
        state["last"] = None
    return result


def _unknown_column(table: Mapping[str, Any], arguments: Mapping[str, Any]) -> str | None:
    named = [one["column"] for one in arguments.get("filters", ())] + arguments.get("columns", [])
    named += [arguments[key] for key in ("order_by", "column") if key in arguments]
    known = {"id", *table["columns"]}
    settable = [key for key in arguments.get("values", {}) if key == "id" or key not in known]
    return next(iter([*(one for one in named if one not in known), *settable]), None)


def _meets(row: Mapping[str, Any], one: Mapping[str, Any]) -> bool:
    held, value = row.get(one["column"]), one["value"]
    if one["op"] == "contains":
        return isinstance(held, str) and str(value).lower() in held.lower()
    if isinstance(held, str) is not isinstance(value, str) or held is None:
        return bool(one["op"] == "!=")
    return bool(OPERATORS[one["op"]](held, value))


def _found(table: Mapping[str, Any], arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
    filters = arguments.get("filters", ())
    return [row for row in table["rows"] if all(_meets(row, one) for one in filters)]


def _describe(state: State, table: dict[str, Any], arguments: Mapping[str, Any]) -> Any:
    return {"columns": {"id": "text", **table["columns"]}, "rows": len(table["rows"])}


def _query(state: State, table: dict[str, Any], arguments: Mapping[str, Any]) -> Any:
    rows, order = _found(table, arguments), arguments.get("order_by")
    if order is not None:
        rows.sort(
            key=lambda row: (str(type(row.get(order))), row.get(order)),
            reverse=arguments.get("descending", False),
        )
    columns = arguments.get("columns") or ["id", *table["columns"]]
    return [{column: row.get(column) for column in columns} for row in rows[: arguments.get("limit", 6)]]


def _insert(state: State, table: dict[str, Any], arguments: Mapping[str, Any]) -> Any:
    values = dict(arguments["values"])
    wrong = _wrong_type(table, values)
    if wrong is not None:
        return error(wrong)
    new = content_id("row", arguments["table"], values)
    if any(row["id"] == new for row in table["rows"]):
        return error(f"row {new} exists already")
    if len(table["rows"]) >= 2 * MOST_ROWS:
        return error(f"table {arguments['table']} is full")
    table["rows"].append({"id": new, **dict.fromkeys(table["columns"]), **values})
    state["last"] = {"table": arguments["table"], "id": new}
    return {"inserted": new}


def _wrong_type(table: Mapping[str, Any], values: Mapping[str, Any]) -> str | None:
    for column, value in values.items():
        if (table["columns"][column] == "text") is not isinstance(value, str):
            return f"column {column} holds {table['columns'][column]}"
    return None


def _update(state: State, table: dict[str, Any], arguments: Mapping[str, Any]) -> Any:
    wrong = _wrong_type(table, arguments["values"])
    if wrong is not None:
        return error(wrong)
    for row in table["rows"]:
        if row["id"] == arguments["id"]:
            row.update(arguments["values"])
            return {"updated": row["id"]}
    return error(f"no row {arguments['id']} in {arguments['table']}")


def _delete(state: State, table: dict[str, Any], arguments: Mapping[str, Any]) -> Any:
    held = {row["id"] for row in table["rows"]}
    missing = [key for key in arguments["ids"] if key not in held]
    if missing:
        return error(f"no row {missing[0]} in {arguments['table']}")
    table["rows"] = [row for row in table["rows"] if row["id"] not in arguments["ids"]]
    return {"deleted": len(held) - len(table["rows"])}


def _aggregate(state: State, table: dict[str, Any], arguments: Mapping[str, Any]) -> Any:
    rows, function, column = _found(table, arguments), arguments["function"], arguments.get("column")
    if function == "count":
        return {"count": len(rows)}
    if column is None:
        return error(f"{function} needs a column")
    held = [row[column] for row in rows if isinstance(row.get(column), int | float)]
    if not held:
        return error(f"no numbers in {column}")
    figures = {"sum": sum(held), "avg": sum(held) / len(held), "min": min(held), "max": max(held)}
    return {function: round(figures[function], 2)}


_RUN = {
    "describe_table": _describe, "query_rows": _query, "insert_row": _insert, "update_row": _update,
    "delete_rows": _delete, "aggregate": _aggregate,
}  # fmt: skip
