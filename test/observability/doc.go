// Package observability holds deploy/observability, and the metrics that sidecars
// export, to what those read them with: real Prometheus and its promtool, the
// queries of Kiali and of Istio's dashboards, and our own rules and dashboards,
// over real sidecars with real applications behind them.
package observability
