"""The simulated tool world: toolboxes over a state, scripts of wishes, and a driver that plays them."""

from corpora.world import agenda, database, files, home, messages, repository, shop, tickets, travel
from corpora.world.base import Toolbox

TOOLBOXES: tuple[Toolbox, ...] = (
    shop.TOOLBOX,
    agenda.TOOLBOX,
    files.TOOLBOX,
    home.TOOLBOX,
    database.TOOLBOX,
    travel.TOOLBOX,
    repository.TOOLBOX,
    tickets.TOOLBOX,
    messages.TOOLBOX,
)
