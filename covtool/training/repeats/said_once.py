"""Notes on what several runs have in common, given once."""

from covtool.training.run.observer import Observer, Observers, TrainingPlan


class SaidOnce(Observers):
    """Passes events on; a note before a run's start only if no run before it has given the same.

    Notes of that time are on data set and model, which the runs have in common. Later ones are of
    the run itself, even in the same words.
    """

    def __init__(self, observer: Observer) -> None:
        super().__init__(observer)
        self._said: set[str] = set()
        self._is_under_way = False

    def on_start(self, plan: TrainingPlan) -> None:
        self._is_under_way = True
        super().on_start(plan)

    def on_end(self) -> None:
        self._is_under_way = False
        super().on_end()

    def on_note(self, text: str) -> None:
        if not self._is_under_way:
            if text in self._said:
                return
            self._said.add(text)
        super().on_note(text)
