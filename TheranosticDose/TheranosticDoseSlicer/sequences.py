"""Time series: a sequence of volumes with index ``time`` in hours, and a browser for it."""

from __future__ import annotations

from TheranosticDoseSlicer import codes, display

BROWSER_NAME = "Time points"
_FRACTION_DIGITS = 4


def index_value(time_h: float) -> str:
    """Return the index of a time; four digits are a third of a second."""
    return f"{time_h:.{_FRACTION_DIGITS}f}"


def time_series(name: str, nodes, times_h, node=None):
    """Return a sequence node with copies of ``nodes`` at ``times_h`` hours after the administration.

    Parameters
    ----------
    name : str
    nodes : list of vtkMRMLVolumeNode
    times_h : list of float
    node : vtkMRMLSequenceNode, optional
        Filled again instead of adding a new one.
    """
    import slicer

    if node is None:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", name)
    was_modifying = node.StartModify()
    try:
        node.SetName(name)
        node.RemoveAllDataNodes()
        node.SetIndexName("time")
        node.SetIndexUnit("h")
        node.SetIndexType(slicer.vtkMRMLSequenceNode.NumericIndex)
        for volume, time_h in sorted(zip(nodes, times_h, strict=True), key=lambda pair: pair[1]):
            copy = node.SetDataNodeAtValue(volume, index_value(time_h))
            # The copy that a sequence keeps loses the coded entries of the volume.
            quantity = codes.quantity_of(volume)
            if copy is not None and quantity is not None:
                codes.set_quantity(copy, quantity.name)
    finally:
        node.EndModify(was_modifying)
    return node


def times_h(sequence) -> list[float]:
    """Return the times of a sequence, h."""
    return [float(sequence.GetNthIndexValue(i)) for i in range(sequence.GetNumberOfDataNodes())]


def browser(sequences, node=None, name: str = BROWSER_NAME):
    """Return a browser in which these sequences of SPECT run together; the first is the master."""
    import slicer

    if node is None:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", name)
    node.SetIndexDisplayMode(slicer.vtkMRMLSequenceBrowserNode.IndexDisplayAsIndexValue)
    for number, sequence in enumerate(sequences):
        if number == 0 and node.GetMasterSequenceNode() is not sequence:
            node.SetAndObserveMasterSequenceNodeID(sequence.GetID())
        if not node.IsSynchronizedSequenceNode(sequence, True):
            node.AddSynchronizedSequenceNode(sequence)
        node.SetSaveChanges(sequence, False)
        shown = node.GetProxyNode(sequence)
        if shown is not None:
            # The application makes it with a display of its own, in grey.
            display.show_as_activity(shown)
    return node
