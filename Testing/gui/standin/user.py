"""The user in front of the application: told things, asked things, answering as the test says."""

from __future__ import annotations

from dataclasses import dataclass, field

from PySide6 import QtWidgets


@dataclass(frozen=True)
class Message:
    """One thing the user was told or asked."""

    kind: str  # "info", "warning", "error", "question", "dialog", "file", "status"
    text: str
    detail: str = ""


@dataclass
class User:
    """What the user saw, and how the user answers.

    ``answers`` are taken one by one by questions (True is OK, Yes or Retry); when they are used up
    the answer is ``default_answer``. ``paths`` are taken by file dialogs; when they are used up the
    dialog is cancelled. ``on_dialog(dialog)`` is called for a modal dialog and may click in it.
    """

    messages: list[Message] = field(default_factory=list)
    answers: list[bool] = field(default_factory=list)
    default_answer: bool = True
    paths: list[str] = field(default_factory=list)
    on_dialog: object = None

    def tell(self, kind: str, text: str, detail: str = "") -> None:
        """Record a message."""
        self.messages.append(Message(kind, str(text), str(detail or "")))

    def ask(self, text: str, detail: str = "") -> bool:
        """Record a question and return the answer."""
        self.tell("question", text, detail)
        return self.answers.pop(0) if self.answers else self.default_answer

    def texts(self, kind: str | None = None) -> list[str]:
        """Return what was said, optionally of one kind."""
        return [message.text for message in self.messages if kind in (None, message.kind)]

    def reset(self) -> None:
        """Forget everything, for the next test."""
        self.messages.clear()
        self.answers.clear()
        self.paths.clear()
        self.default_answer, self.on_dialog = True, None


user = User()

_YES = ("Ok", "Yes", "Retry", "Save", "Open", "YesToAll")
_NO = ("Cancel", "No", "Close", "Discard", "Abort")
_LEVELS = {10: "info", 20: "info", 30: "warning", 40: "error", 50: "error"}
_originals: list[tuple[object, str, object]] = []


def _button(buttons, answer: bool):
    """Return the standard button that says ``answer`` among those offered."""
    box = QtWidgets.QMessageBox
    for name in _YES if answer else _NO:
        button = getattr(box, name)
        if int(buttons) & int(button):
            return button
    return box.Ok if answer else box.Cancel


def _message_display(
    level, text, testing_value, mainWindowNeeded=False, parent=None, windowTitle=None, **kwargs
):
    box = QtWidgets.QMessageBox
    buttons = kwargs.get("standardButtons", box.Ok)
    detail = kwargs.get("detailedText", "")
    if int(buttons) == int(box.Ok):
        user.tell(_LEVELS.get(level, "info"), text, detail)
        return box.Ok
    return _button(buttons, user.ask(text, detail))


def _message_box(text, parent=None, **kwargs):
    return _message_display(20, text, None, **kwargs)


def _static_box(kind: str):
    def show(parent, title, text, buttons=QtWidgets.QMessageBox.Ok, *rest, **kwargs):
        if int(buttons) == int(QtWidgets.QMessageBox.Ok):
            user.tell(kind, text)
            return QtWidgets.QMessageBox.Ok
        return _button(buttons, user.ask(text))

    return staticmethod(show)


def _file_dialog(returns_filter: bool):
    def choose(parent=None, caption="", directory="", *rest, **kwargs):
        user.tell("file", caption)
        path = user.paths.pop(0) if user.paths else ""
        return path

    return staticmethod(choose)


def _exec(dialog, *arguments):
    """Run a modal dialog: the test's handler plays the user; without one it is accepted or rejected."""
    title = dialog.windowTitle
    if isinstance(dialog, QtWidgets.QMessageBox):
        text, detail = dialog.text, dialog.informativeText
        buttons = dialog.standardButtons
        if int(buttons) in (0, int(QtWidgets.QMessageBox.Ok)):
            user.tell("dialog", text, detail)
            return QtWidgets.QMessageBox.Ok
        return _button(buttons, user.ask(text, detail))
    user.tell("dialog", title)
    dialog.show()
    if user.on_dialog is not None:
        user.on_dialog(dialog)
        result = dialog.result()
    else:
        result = int(user.answers.pop(0) if user.answers else user.default_answer)
        dialog.done(result)
    return result


def _replace(owner, name: str, value) -> None:
    _originals.append((owner, name, vars(owner).get(name, _originals)))
    setattr(owner, name, value)


def install() -> None:
    """Put the user in place of modal windows."""
    import slicer.util

    if _originals:
        return
    _replace(slicer.util, "_messageDisplay", _message_display)
    _replace(slicer.util, "messageBox", _message_box)
    _replace(slicer.util, "delayDisplay", lambda message, *rest, **kwargs: user.tell("info", message))
    _replace(
        slicer.util, "showStatusMessage", lambda message, duration=0: user.tell("status", message) or True
    )
    for name, kind in (
        ("information", "info"),
        ("warning", "warning"),
        ("critical", "error"),
        ("question", "question"),
    ):
        _replace(QtWidgets.QMessageBox, name, _static_box(kind))
    for name in ("getExistingDirectory", "getOpenFileName", "getSaveFileName"):
        _replace(QtWidgets.QFileDialog, name, _file_dialog(name != "getExistingDirectory"))
    _replace(QtWidgets.QFileDialog, "getOpenFileNames", staticmethod(_open_names))
    for cls in (QtWidgets.QDialog, QtWidgets.QMessageBox, QtWidgets.QProgressDialog):
        for name in ("exec", "exec_"):
            _replace(cls, name, _exec)


def _open_names(parent=None, caption="", *rest, **kwargs):
    user.tell("file", caption)
    chosen, user.paths[:] = list(user.paths), []
    return chosen


def uninstall() -> None:
    """Give the modal windows back."""
    for owner, name, value in reversed(_originals):
        if value is _originals:
            delattr(owner, name)
        else:
            setattr(owner, name, value)
    _originals.clear()
    user.reset()
