"""What a run did, for people: the HTML report and the Perfetto trace of a run folder."""

from megatron_fugaku.report.metrics import Metrics, load_metrics
from megatron_fugaku.report.page import save_report
from megatron_fugaku.report.trace import save_trace

__all__ = ["Metrics", "load_metrics", "save_report", "save_trace"]
