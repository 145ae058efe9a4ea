package server

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"tandem/app/tally"
)

// checkMetrics says why metrics are not served at an address; "": they are not wanted.
func checkMetrics(at string) error {
	host, _, err := net.SplitHostPort(at)
	if a, wrong := netip.ParseAddr(host); at == "" || err == nil && (host == "localhost" || wrong == nil && a.IsLoopback()) {
		return nil
	}
	return fmt.Errorf("metrics are for this machine alone: %q is not a loopback address with a port, such as 127.0.0.1:9100", at)
}

// listenMetrics serves metrics for Prometheus.
func listenMetrics(at string, of prometheus.Collector) (*listener, error) {
	l, err := net.Listen("tcp", at)
	if err != nil {
		return nil, fmt.Errorf("metrics cannot be served at %s: %w", at, err)
	}
	r := prometheus.NewRegistry()
	r.MustRegister(of, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(r, promhttp.HandlerOpts{}))
	return serveHTTP(l, mux), nil
}

func metric(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("tandem_hub_"+name, help, labels, nil)
}

var (
	metricOnline      = metric("device_online", "1 when the device was heard within the last minutes.", "device")
	metricConnections = metric("device_connections", "Connections that are relayed.", "device")
	metricReceived    = metric("device_received_bytes_total", "Octets on the wire from the device since it joined.", "device")
	metricSent        = metric("device_sent_bytes_total", "Octets on the wire to the device since it joined.", "device")
	metricOffers      = metric("device_offers_total", "Connections that the device asked for.", "device")
	metricRefused     = metric("device_refused_total", "Connections that were refused, or left while they were dialled.", "device")
	metricAborted     = metric("device_aborted_total", "Connections that ended otherwise than by both ends closing.", "device")
	metricCounted     = metric("device_counted_total", "What the device's connections have counted: options, limits, what was dropped or refused, by counter.", "device", "counter")
	metricInvites     = metric("invites", "Invites that are open, or were used a short while ago.")
	metricAsked       = metric("dns_questions_total", "Questions of devices to the hub's resolver.")
	metricFailed      = metric("dns_failures_total", "Questions that no upstream answered.")
	metricLimited     = metric("limited_total", "Connections refused because their device had its share of open files.")
	metricFiles       = metric("files", "Files open for connections.")
)

// gauges asks a hub when Prometheus asks for it.
type gauges struct{ server *Server }

// Describe leaves it to Collect: the devices come and go.
func (gauges) Describe(ch chan<- *prometheus.Desc) { ch <- metricInvites }

// Collect pictures the hub.
func (g gauges) Collect(ch chan<- prometheus.Metric) {
	s := g.server
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	l := s.registry.list(time.Now())
	for _, info := range l.Devices {
		d := s.device(info.Number)
		if d == nil || info.Revoked != nil {
			continue // of two devices of one name one is revoked
		}
		d.describe(&info)
		online := 0.0
		if info.Online {
			online = 1
		}
		gauge(metricOnline, online, info.Name)
		gauge(metricConnections, float64(info.Connections), info.Name)
		count(metricReceived, info.Received, info.Name)
		count(metricSent, info.Sent, info.Name)
		count(metricOffers, d.counters.Offers.Load(), info.Name)
		count(metricRefused, d.counters.Refused.Load(), info.Name)
		count(metricAborted, d.counters.Aborted.Load(), info.Name)
		for name, n := range info.Counters {
			count(metricCounted, n, info.Name, name)
		}
	}
	gauge(metricInvites, float64(len(l.Invites)))
	count(metricAsked, s.resolver.asked.Load())
	count(metricFailed, s.resolver.failed.Load())
	count(metricLimited, s.counters.limited.Load())
	s.budget.mu.Lock()
	files := s.budget.used
	s.budget.mu.Unlock()
	gauge(metricFiles, float64(files))
}

var (
	metricImplicit = counted("implicit", "What the proxy has counted: connections, options, limits, what was dropped or refused, by counter.")
	metricConvert  = counted("convert", "What the converter has counted: clients, questions, limits, what was refused, by counter.")
)

func counted(program, help string) *prometheus.Desc {
	return prometheus.NewDesc("tandem_"+program+"_counted_total", help, []string{"counter"}, nil)
}

// A tallied proxy is asked when Prometheus asks for it.
type tallied struct {
	desc  *prometheus.Desc
	tally func() tally.Tally
}

// Describe tells what Collect gives.
func (t tallied) Describe(ch chan<- *prometheus.Desc) { ch <- t.desc }

// Collect pictures the proxy.
func (t tallied) Collect(ch chan<- prometheus.Metric) {
	for name, n := range t.tally() {
		ch <- prometheus.MustNewConstMetric(t.desc, prometheus.CounterValue, float64(n), name)
	}
}
