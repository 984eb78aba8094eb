"""`resurgam check`: the checker of `replay` over the systems that `coordinator.access` finds."""

from coordinator.commands.common import command_app
from coordinator.commands.replay import open_found
from replay.__main__ import check_command

app = command_app()
app.command()(check_command(open_found))
