"""A grammar of patches like those that coding agents declare for their editing tool, and texts for it."""

from __future__ import annotations

from typing import Any

PATCH_GRAMMAR = r"""
// one patch, of several files
start: opening section+ closing
opening: "*** Begin Patch" LF
closing: "*** End Patch" LF?

section: added | removed | changed
added: "*** Add File: " path LF new_line+
removed: "*** Delete File: " path LF
changed: "*** Update File: " path LF moved? hunk+
moved: "*** Move to: " path LF

hunk: mark line+ at_end?
mark: ("@@" | "@@ " /(.+)/) LF
new_line: "+" /(.*)/ LF -> line
line: ("+" | "-" | " ") /(.*)/ LF
at_end: "*** End of File" LF
path: /[^\r\n]+/

%import common.LF
"""

EDIT = """*** Begin Patch
*** Update File: src/greet.py
@@ def greet(name):
-\tprint("hello " + name)
+\tprint(f"hello {name}\\n", end='')
 \treturn None
*** Delete File: old/</parameter> {"x"}.txt
*** End Patch"""
NEW_FILE = '*** Begin Patch\n*** Add File: été.md\n+# Ünïcode 🙂\n+\n+\\d+ \\\\ "q"\n*** End Patch\n'
PATCHES = (EDIT, NEW_FILE, f"{EDIT}\n")
# what models send instead
NO_PATCHES = {
    "prose": "I changed the file.",
    "empty": "",
    "fenced": f"```\n{EDIT}\n```",
    "no_end": EDIT.removesuffix("\n*** End Patch"),
    "unified": "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n",
    "line_without_sign": EDIT.replace(" \treturn", "return"),
    "no_sections": "*** Begin Patch\n*** End Patch",
    "more_behind": f"{EDIT}\nDone.",
}
PATCH_TOOL: dict[str, Any] = {
    "type": "custom",
    "name": "apply_patch",
    "description": "Edits files.",
    "format": {"type": "grammar", "syntax": "lark", "definition": PATCH_GRAMMAR},
}
