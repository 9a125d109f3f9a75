"""x"""

from textual.screen import ModalScreen


class PlotsScreen(ModalScreen):
    def __init__(self, *a):
        super().__init__()
