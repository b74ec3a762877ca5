"""The database toolbox: wishes for queries, inserts, updates, deletes and sums over three tables."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

from corpora.lexicon import invented_word
from corpora.world.base import Call, Plan, State, Toolbox, Wish, single, tool
from corpora.world.saying import asked, closing, listed, picked, quoted, trouble
from corpora.world.tables import MOST_ROWS, OPERATORS, draw_row, draw_value, open_tables, run_query

_FILTERS = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "properties": {
            "column": {"type": "string"},
            "op": {"enum": [*OPERATORS, "contains"]},
            "value": {"type": ["string", "number"]},
        },
        "required": ["column", "op", "value"],
    },
}
_TABLE = {"type": "string"}
_VALUES = {"type": "object", "additionalProperties": {"type": ["string", "number"]}}
_TOOLS = (
    tool("list_tables", "Names of all tables.", {}),
    tool("describe_table", "Columns of a table.", {"table": _TABLE}, ("table",)),
    tool(
        "query_rows",
        "Rows of a table that meet all filters.",
        {
            "table": _TABLE,
            "columns": {"type": "array", "items": {"type": "string"}, "description": "All if left out"},
            "filters": _FILTERS,
            "order_by": {"type": "string"},
            "descending": {"type": "boolean"},
            "limit": {"type": "integer", "minimum": 1, "maximum": 20},
        },
        ("table",),
    ),
    tool("insert_row", "Add one row.", {"table": _TABLE, "values": _VALUES}, ("table", "values")),
    tool(
        "update_row",
        "Set columns of one row.",
        {"table": _TABLE, "id": {"type": "string"}, "values": _VALUES},
        ("table", "id", "values"),
    ),
    tool(
        "delete_rows",
        "Delete rows by their ids.",
        {"table": _TABLE, "ids": {"type": "array", "items": {"type": "string"}, "minItems": 1}},
        ("table", "ids"),
    ),
    tool(
        "aggregate",
        "One figure over a column, or the count of rows.",
        {
            "table": _TABLE,
            "function": {"enum": ["count", "sum", "avg", "min", "max"]},
            "column": {"type": "string", "description": "Not for count"},
            "filters": _FILTERS,
        },
        ("table", "function"),
    ),
)


def _pick(rng: Random, state: State) -> tuple[str, dict[str, Any]]:
    name = rng.choice(list(state["tables"]))
    return name, state["tables"][name]


def _spoken(rng: Random, value: Any) -> str:
    return quoted(rng, value) if isinstance(value, str) and rng.random() < 0.4 else str(value)


def _filter(rng: Random, table: Mapping[str, Any]) -> dict[str, Any]:
    kinds: dict[str, str] = table["columns"]
    column = rng.choice(list(kinds))
    held = [row[column] for row in table["rows"] if row.get(column) is not None]
    value = rng.choice(held) if held and rng.random() < 0.8 else draw_value(rng, kinds[column])
    if kinds[column] != "text":
        return {"column": column, "op": rng.choice((">", "<", ">=", "<=", "=", "!=")), "value": value}
    if rng.random() < 0.3:
        return {"column": column, "op": "contains", "value": invented_word(rng, 1)}
    return {"column": column, "op": rng.choice(("=", "=", "!=")), "value": value}


def _condition(rng: Random, filters: list[dict[str, Any]]) -> str:
    parts = [f"{one['column']} {one['op']} {_spoken(rng, one['value'])}" for one in filters]
    return " and ".join(parts)


def _settings(rng: Random, values: Mapping[str, Any]) -> str:
    form = rng.choice(("{} = {}", "{}: {}", "{} {}"))
    return listed(rng, [form.format(key, _spoken(rng, value)) for key, value in values.items()])


def list_all(rng: Random, state: State) -> Wish:
    """list_tables."""
    forms = (
        "list the tables", "show me all tables", "tell me which tables there are", "list all tables",
        "Which tables do we have?", "What tables are in the database?", "Names of all the tables, please.",
        "give me the names of the tables",
    )  # fmt: skip
    text = asked(rng, forms)
    return Wish(text, single(Call("list_tables", {}), lambda names: f"The tables are {', '.join(names)}."))


def describe(rng: Random, state: State) -> Wish:
    """describe_table."""
    name = invented_word(rng, 3) if rng.random() < 0.06 else _pick(rng, state)[0]
    forms = (
        "describe the table {t}", "describe {t}", "show the columns of {t}", "tell me what columns {t} has",
        "Which columns are in {t}?", "What does the table {t} look like?", "Columns of {t}?",
        "look up the structure of {t}", "I forgot the columns of {t}, what are they?",
    )  # fmt: skip
    return Wish(
        asked(rng, forms, t=name),
        single(
            Call("describe_table", {"table": name}), lambda found: f"It has {', '.join(found['columns'])}."
        ),
    )


def query(rng: Random, state: State) -> Wish:
    """query_rows, with columns, filters, an order and a limit now and then."""
    name, table = _pick(rng, state)
    arguments: dict[str, Any] = {"table": name}
    what, columns = rng.choice(("the rows", "rows", "all rows", "the entries")), list(table["columns"])
    if rng.random() < 0.45:
        arguments["columns"] = rng.sample(columns, rng.randint(1, 2))
        what = rng.choice(("only ", "just the columns ", "")) + " and ".join(arguments["columns"])
    tails = []
    if rng.random() < 0.7:
        filters = [_filter(rng, table) for _ in range(rng.choice((1, 1, 2)))]
        arguments["filters"] = filters
        tails.append(rng.choice((" where ", " with ", " such that ")) + _condition(rng, filters))
    if rng.random() < 0.4:
        order, down = rng.choice(columns), rng.random() < 0.5
        arguments |= {"order_by": order} | ({"descending": True} if down else {})
        tails.append(f", {rng.choice(('ordered by', 'sorted by'))} {order}" + (" descending" if down else ""))
    if rng.random() < 0.4:
        arguments["limit"] = rng.randint(1, 5)
        tails.append(rng.choice((", limit {n}", ", at most {n}", ", max {n}")).format(n=arguments["limit"]))
    forms = (
        "show me {w} of {t}{c}", "get {w} from {t}{c}", "query {w} of {t}{c}", "select {w} from {t}{c}",
        "fetch {w} of the table {t}{c}", "In {t}, {w}{c}.", "From {t} I need {w}{c}", "list {w} in {t}{c}",
        "Table {t}: {w}{c}", "look up {w} of {t}{c}",
    )  # fmt: skip
    text = asked(rng, forms, w=what, t=name, c="".join(tails))
    return Wish(text, single(Call("query_rows", arguments), _row_count))


def _row_count(rows: Any) -> str:
    return f"I found {len(rows)} row{'' if len(rows) == 1 else 's'}." if rows else "No row meets that."


_INSERT = (
    "insert a row into {t}: {v}", "add a row to {t} with {v}", "add to {t}: {v}", "put a new row in {t}, {v}",
    "create a row in the table {t} with {v}", "Into {t}, a new row: {v}", "New row for {t}: {v}",
    "I have another entry for {t}: {v}", "record this in {t}: {v}",
)  # fmt: skip


def insert(rng: Random, state: State) -> Wish:
    """insert_row with some of the columns."""
    name, table = _pick(rng, state)
    if len(table["rows"]) >= MOST_ROWS:
        return delete(rng, state)
    values = draw_row(rng, table)
    for column in rng.sample(list(values), rng.choice((0, 0, 1, 2))):
        del values[column]
    text = asked(rng, _INSERT, t=name, v=_settings(rng, values))
    call = Call("insert_row", {"table": name, "values": values})
    return Wish(text, single(call, lambda found: f"Row {found['inserted']} is in {name}."))


def update(rng: Random, state: State) -> Wish:
    """update_row by an id that the text names."""
    name, table = _pick(rng, state)
    values = dict(rng.sample(list(draw_row(rng, table).items()), rng.choice((1, 1, 2))))
    row = picked(rng, [one["id"] for one in table["rows"]], "row", 0.08)
    forms = (
        "[update|change] {r} in {t}: {v}", "set {v} in row {r} of {t}", "in {t}, set {v} for {r}",
        "In {t}, [row |]{r}: set {v}", "change row {r} of [the table |]{t} so that {v}",
        "{r} in {t} gets {v}",
        "Row {r} of {t} should have {v}", "update the row {r} of {t}, {v}", "{t}, {r}: it is now {v}",
    )  # fmt: skip
    text = asked(rng, forms, t=name, v=_settings(rng, values), r=row)
    call = Call("update_row", {"table": name, "id": row, "values": values})
    return Wish(text, single(call, closing(rng, "{r[updated]} is updated.", "Updated.")))


def delete(rng: Random, state: State) -> Wish:
    """delete_rows with one to three ids; rather where there are many rows."""
    name, table = max(state["tables"].items(), key=lambda one: len(one[1]["rows"]) // MOST_ROWS)
    if len(table["rows"]) < MOST_ROWS:
        name, table = _pick(rng, state)
    held = [one["id"] for one in table["rows"]]
    many = len(held) >= 5 and rng.random() < 0.5
    ids = rng.sample(held, rng.choice((2, 2, 3))) if many else [picked(rng, held, "row", 0.08)]
    forms = (
        "delete {r} from {t}", "[delete|remove] the [row|rows] {r} of {t}", "remove {r} from the table {t}",
        "In {t}, delete {r}", "drop {r} from {t}", "erase {r} in {t}", "{r} in {t} can go, delete that.",
        "get rid of {r} in {t}", "We no longer need {r} in {t}, delete.",
    )  # fmt: skip
    call = Call("delete_rows", {"table": name, "ids": ids})
    text = asked(rng, forms, r=listed(rng, ids), t=name)
    return Wish(text, single(call, closing(rng, "Deleted {r[deleted]}.", "{r[deleted]} gone.", "Deleted.")))


def figure(rng: Random, state: State) -> Wish:
    """aggregate: one figure, perhaps of the rows that meet a filter."""
    name, table = _pick(rng, state)
    function = rng.choice(("count", "sum", "avg", "min", "max"))
    arguments: dict[str, Any] = {"table": name, "function": function}
    what = rng.choice(("the count of rows", "the row count", "the count"))
    if function != "count":
        arguments["column"] = rng.choice([one for one, kind in table["columns"].items() if kind != "text"])
        what = f"the {function} of {arguments['column']}"
    tail = ""
    if rng.random() < 0.4:
        arguments["filters"] = [_filter(rng, table)]
        tail = f" where {_condition(rng, arguments['filters'])}"
    forms = (
        "compute {w} in {t}{c}", "get {w} of the table {t}{c}", "give me {w} in {t}{c}",
        "What is {w} in {t}{c}?", "For {t}, {w}{c}", "tell me {w} for {t}{c}", "I need {w} in {t}{c}",
        "aggregate {t}: {w}{c}",
    )  # fmt: skip
    text = asked(rng, forms, w=what, t=name, c=tail)
    return Wish(text, single(Call("aggregate", arguments), lambda found: f"It is {found[function]}."))


def describe_several(rng: Random, state: State) -> Wish:
    """describe_table, two or three at once."""
    names = rng.sample(list(state["tables"]), rng.choice((2, 2, 3)))
    forms = (
        "describe {t}", "describe the tables {t}", "show the columns of {t}", "What columns do {t} have?",
        "The columns of {t}, please", "look up the columns of {t}", "I need the structure of {t}",
        "tell me how {t} are built",
    )  # fmt: skip

    def plan() -> Plan:
        results = yield tuple(Call("describe_table", {"table": name}) for name in names)
        return f"They have {' and '.join(str(result['rows']) for result in results)} rows."

    return Wish(asked(rng, forms, t=listed(rng, names)), plan())


def insert_several(rng: Random, state: State) -> Wish:
    """insert_row, two at once."""
    name, table = _pick(rng, state)
    if len(table["rows"]) >= MOST_ROWS:
        return delete(rng, state)
    rows = [draw_row(rng, table) for _ in range(2)]
    parts = [_settings(rng, row) for row in rows]
    forms = (
        "insert two rows into {t}: {a}; and {b}", "add two rows to {t}. First {a}. Then {b}",
        "Two new rows for {t}:\n- {a}\n- {b}", "put these into {t}:\n1. {a}\n2. {b}",
        "add to {t}: {a}\nand also: {b}", "Into {t}, first: {a}; second: {b}",
        "record two entries in {t}: {a} / {b}", "I have two more for {t}: {a}, then {b}",
    )  # fmt: skip

    def plan() -> Plan:
        results = yield tuple(Call("insert_row", {"table": name, "values": row}) for row in rows)
        bad = [trouble(result) for result in results if trouble(result)]
        return bad[0] if bad else f"Both rows are in {name}."

    return Wish(asked(rng, forms, t=name, a=parts[0], b=parts[1]), plan())


def find_then_change(rng: Random, state: State) -> Wish:
    """query_rows with one filter, then update_row or delete_rows for the only row that it finds."""
    name, table = _pick(rng, state)
    column = rng.choice([one for one, kind in table["columns"].items() if kind == "text"])
    held = [row[column] for row in table["rows"] if row.get(column)]
    held = [one for one in held if held.count(one) == 1]
    if not held:
        return figure(rng, state)
    value, drop = rng.choice(held), rng.random() < 0.4
    values = dict(rng.sample(list(draw_row(rng, table).items()), 1))
    deed = "delete it" if drop else f"set {_settings(rng, values)} in it"
    filters = [{"column": column, "op": "=", "value": value}]
    forms = (
        "query {t} [for|where] {c}, then {d}", "find the row with {c} in {t} and {d}",
        "look in {t} where {c}, and then {d}", "get the row of {t} where {c} and {d}",
        "First query {t} where {c}. Then {d}.", "In {t}, find {c}, then {d}",
        "I don't know its id: find the row of {t} with {c} and {d}", "search {t} where {c} and {d}",
        "Which row of {t} has {c}? Find it and {d}.", "There is a row with {c} in {t}, find it and {d}",
    )  # fmt: skip

    def plan() -> Plan:
        (rows,) = yield (Call("query_rows", {"table": name, "filters": filters}),)
        key = rows[0]["id"]
        if drop:
            (result,) = yield (Call("delete_rows", {"table": name, "ids": [key]}),)
        else:
            (result,) = yield (Call("update_row", {"table": name, "id": key, "values": values}),)
        return trouble(result) or f"Row {key} is {'deleted' if drop else 'updated'}."

    return Wish(asked(rng, forms, t=name, c=_condition(rng, filters), d=deed), plan())


def delete_last(rng: Random, state: State) -> Wish:
    """delete_rows of the row that was inserted in the message before."""
    last = state["last"]
    if last is None:
        return delete(rng, state)
    forms = (
        "delete that row again", "[remove|delete] the row you just inserted", "undo that: delete the new row",
        "No, that was wrong. Delete the new row again.", "take that row out again, delete it",
        "Sorry, wrong row. Delete it.", "delete the [last|new] row again",
        "I changed my mind, delete this row",
    )  # fmt: skip
    call = Call("delete_rows", {"table": last["table"], "ids": [last["id"]]})
    return Wish(asked(rng, forms), single(call, f"Row {last['id']} is gone again."))


TOOLBOX = Toolbox(
    name="database",
    purpose="You work on a database through tools.",
    tools=_TOOLS,
    open=open_tables,
    run=run_query,
    wishes={
        list_all: 4, describe: 6, query: 18, insert: 12, update: 12, delete: 8, figure: 12,
        describe_several: 6, insert_several: 6, find_then_change: 14, delete_last: 8,
    },
)  # fmt: skip
