"""A dashboard of a W&B project: who leads, class by class, PSD-ROC, curves and pictures of all its runs.

``python -m sed_lab.report.dashboard TEAM/PROJECT`` saves it as a view of the project's workspace. It shows what runs of
sed_lab send, also those to come; runs are grouped by sweep, and within it by what they were asked for but the seed.
"""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from sed_lab.errors import InputError, run_command
from sed_lab.run.answer import COLUMNS
from sed_lab.run.charts import BAR, BAR_TITLE, PSDS, X_TITLE, curve_title

if TYPE_CHECKING:
    from wandb_workspaces.reports.v2 import CustomChart
    from wandb_workspaces.workspaces import Workspace

NAME = "sed_lab"
EVENTS, CLIPS = [*COLUMNS][:4], [*COLUMNS][4:]  # of events in time, and of whole clips
CURVES = {"Objective": ["val/objective"], "Loss": ["train/loss"]}
PICTURES = ("learning_curves", "per_class_f1", "psd_roc")


def main() -> None:
    """``python -m sed_lab.report.dashboard TEAM/PROJECT``"""
    parser = argparse.ArgumentParser(prog="python -m sed_lab.report.dashboard", description=__doc__)
    parser.add_argument("project", help="TEAM/PROJECT, or USER/PROJECT, as W&B's address of it ends")
    parser.add_argument("--name", default=NAME, help=f"of the view; {NAME} if not given")
    options = parser.parse_args()
    run_command(lambda: save(options.project, options.name))


def save(project: str, name: str) -> None:
    """Save the dashboard as a new view of the workspace of ``project``; W&B says its address.

    Raises:
        InputError: the extra is not installed, ``project`` is no TEAM/PROJECT, or W&B does not take it.
    """
    if find_spec("wandb_workspaces") is None:
        raise InputError("the dashboard needs the extra dashboard; install sed_lab[dashboard]")
    import wandb

    entity, _, rest = project.partition("/")
    if not entity or not rest or "/" in rest:
        raise InputError(f"{project!r} names no project; give TEAM/PROJECT, or USER/PROJECT")
    try:
        workspace(entity, rest, name).save()
    except wandb.errors.Error as error:
        raise InputError(f"W&B does not take a dashboard for {project}: {error}; look at wandb login") from error


def workspace(entity: str, project: str, name: str) -> Workspace:
    """The view; nothing is asked of W&B before it is saved."""
    import wandb_workspaces.expr as ex
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

    def bars(columns: list[str]) -> list[wr.BarPlot]:
        return [wr.BarPlot(title=column, metrics=[f"answer/{COLUMNS[column]}"]) for column in columns]

    leaders = [wr.BarPlot(title="objective, in validation", metrics=["objective"]), *bars(EVENTS)]
    classes = [
        _chart(BAR, "wandb/bar/v0", {"label": "event_label", "value": "F1"}, {"title": BAR_TITLE}),
        wr.WeavePanelSummaryTable(table_name="per_class"),
    ]
    axes = {"step": "step", "lineKey": "lineKey", "lineVal": "lineVal"}
    curves = [
        _chart(f"charts/{name}", "wandb/lineseries/v0", axes, {"title": curve_title(name), "xname": X_TITLE})
        for name in PSDS
    ]
    training = [wr.LinePlot(title=title, x="epoch", y=list(keys)) for title, keys in CURVES.items()]
    settings = [wr.RunComparer(diff_only="split"), wr.ParameterImportancePlot(with_respect_to="objective")]
    pictures = [wr.MediaBrowser(media_keys=[f"figures/{picture}" for picture in PICTURES], num_columns=3)]
    sections: dict[str, list[Any]] = {
        "Leaders": leaders,
        "Classes": classes,
        "PSD-ROC": curves,
        "Training": training,
        "Settings": settings,
        "Whole clips": bars(CLIPS),
        "Pictures": pictures,
    }
    columns = ["objective", *(f"answer/{COLUMNS[column]}" for column in EVENTS), "answer/system", "failure"]
    return ws.Workspace(
        entity=entity,
        project=project,
        name=name,
        sections=[
            ws.Section(name=title, panels=panels, is_open=number < 4)
            for number, (title, panels) in enumerate(sections.items())
        ],
        runset_settings=ws.RunsetSettings(
            groupby=[ex.Metric("Group"), ex.Config("setting")],
            order=[ex.Ordering(ex.Summary("objective"), ascending=False)],
            pinned_columns=[f"summary:{column}" for column in columns],
        ),
    )


def _chart(key: str, preset: str, fields: dict[str, str], texts: dict[str, str]) -> CustomChart:
    """What ``wandb.plot`` logged under ``key``, of all runs that are shown."""
    from wandb_workspaces.reports.v2 import CustomChart

    asked = {"id": {}, "name": {}, "_defaultColorIndex": {}, "summaryTable": {"tableKey": f"{key}_table"}}
    return CustomChart(query=asked, chart_name=preset, chart_fields=fields, chart_strings=texts)


if __name__ == "__main__":
    main()
