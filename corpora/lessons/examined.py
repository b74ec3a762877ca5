"""The words of the examinations: crafts and seafaring. They stand here so that no lesson says one."""

from __future__ import annotations

from corpora.lessons.vocabulary import Vocabulary

EXAMINED = Vocabulary(
    verbs=tuple(
        """
anneal baste caulk decant distil embroider ferment fillet forge glaze graft knead knit pickle plait prune
quench quilt scour shear sieve solder splice stitch thatch thresh varnish weld whet whittle winnow
""".split()
    ),
    nouns=tuple(
        """
anvil apiary awning barge barrel bellows bobbin cask cauldron chisel crucible dinghy distillery easel ferry
fleece furrow galley gasket grindstone hammock harness hayloft jetty lantern lathe loom
mortar oar orchard paddock pestle plough pulley rafter rudder saddle sextant shingle spindle stable tannery
trellis trough
turbine vineyard warp wharf
""".split()
    ),
    fields={
        "name": tuple("blacksmith cooper miller steward skipper weaver saddler parish hamlet".split()),
        "text": tuple("inscription motto epitaph rumour blessing refrain proverb".split()),
        "id": tuple("hallmark tallymark watermark keelmark stampmark".split()),
        "path": tuple("scroll parchment folio codex".split()),
        "email": tuple("herald courier envoy".split()),
        "date": tuple("harvest regatta solstice vintage thaw".split()),
        "time": tuple("moonrise dusk cockcrow".split()),
        "integer": tuple("bushels fathoms acres strands hoops knots spokes planks".split()),
        "number": tuple("girth draught tonnage gradient salinity".split()),
        "boolean": tuple("seaworthy tarred seasoned gilded fireproof waterproof".split()),
        "enum": tuple("timber alloy weave rigging livestock dyestuff".split()),
    },
    groups=(
        ("crew", "crews"), ("shipment", "shipments"), ("bundle", "bundles"), ("ingredient", "ingredients"),
        ("voyage", "voyages"), ("ember", "embers"), ("fitting", "fittings"), ("layer", "layers"),
        ("apprentice", "apprentices"), ("mooring", "moorings"),
    ),
    options=tuple(
        """
oak ash elm beech birch copper brass pewter bronze twill satin linen hemp sloop ketch cutter goat
heifer indigo madder woad saffron
""".split()
    ),
)  # fmt: skip

#: what no lesson may say; "in" and "of" are parts of names, and words of every text
HELD_OUT = frozenset(EXAMINED.words()) - {"in", "of"}
