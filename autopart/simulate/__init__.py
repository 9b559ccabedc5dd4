"""The simulator: plays a program's action lists and says when everything happens and what every rank holds meanwhile."""

from autopart.simulate.engine import simulate
from autopart.simulate.lanes import play
from autopart.simulate.timeline import Event, Message, Timeline

__all__ = ["Event", "Message", "Timeline", "play", "simulate"]
