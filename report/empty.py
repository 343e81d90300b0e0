"""What images without a lesion do to a table, and the false alarms that they alone can show."""

from collections.abc import Iterator, Sequence

from report.cases import Job
from report.layout import on_one_line

# what a protocol makes of them; volumes and layers have their own rules
MISLEADING = {
    "official": "maxF, avgF and wfm are 0 there whatever the map, and Em is 0 where it is black",
    "pranet": "meanDic, meanIoU, wFm, meanSen and meanSpe are 0 there whatever the map",
    "infnet": "meanDic, meanSen and meanSpe are 0 there whatever the map",
    "binary": "Jaccard, Recall and Dice do not exist there, or are 0 for a false alarm",
}


def notes(jobs: Sequence[Job]) -> Iterator[str]:
    """For each data set with empty masks what its scores make of them, and how many maps raise a false alarm there."""
    for shown in dict.fromkeys(job.shown for job in jobs if job.empty and job.scores.protocol in MISLEADING):
        mine = [job for job in jobs if job.shown == shown and job.empty]
        protocol = mine[0].scores.protocol
        # folds have a part of the masks each, seeds all of them
        parts = [job for job in jobs if job.shown == shown and job.method == mine[0].method]
        parts = parts if mine[0].only is not None else mine[:1]
        masks, empty = sum(len(job.scores) for job in parts), sum(job.empty for job in parts)
        alarms = ", ".join(f"{job.line} {job.alarms} of {job.empty}" for job in mine)
        hint = "" if protocol == "binary" else "; --protocol binary has their specificity"
        yield on_one_line(
            f"note: {shown}: {empty} of {masks} masks are empty; {MISLEADING[protocol]}. "
            f"False alarms, maps that reach one half anywhere: {alarms}{hint}"
        )
