// Makes requests on the metrics of Envoy AI Gateway as its external processor does (cmd/extproc/mainlib), and writes what
// it would expose before and after them. record_envoy_ai_gateway.py puts this into a checkout of the gateway and runs it:
// the package of the metrics is internal to it.
package main

import (
	"context"
	"io"
	"net/http/httptest"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	otelprom "go.opentelemetry.io/otel/exporters/prometheus"

	"github.com/envoyproxy/ai-gateway/internal/internalapi"
	"github.com/envoyproxy/ai-gateway/internal/metrics"
)

var headers = map[string]string{"x-prompt-namespace": "shop", "x-prompt-name": "bot", "x-prompt-version": "1.0.0"}

func main() {
	registry := prometheus.NewRegistry()
	reader, err := otelprom.New(otelprom.WithRegisterer(registry))
	check(err)
	meter, _, err := metrics.NewMeterFromEnv(context.Background(), io.Discard, reader)
	check(err)
	mapping, err := internalapi.ParseRequestHeaderAttributeMapping(os.Args[1])
	check(err)
	factory := metrics.NewMetricsFactory(meter, mapping, metrics.GenAIOperationChat)
	request(factory, false, 0)
	request(factory, true, 0)
	expose(registry, "before.prom")
	var all sync.WaitGroup
	for number := range 60 {
		all.Go(func() {
			if number < 9 {
				request(factory, true, 4*time.Second)
			} else {
				request(factory, number >= 24, 700*time.Millisecond)
			}
		})
	}
	all.Wait()
	expose(registry, "after.prom")
}

func request(factory metrics.Factory, succeeds bool, takes time.Duration) {
	one, ctx := factory.NewMetrics(), context.Background()
	one.StartRequest(headers)
	one.SetOriginalModel("gpt-4o-mini")
	one.SetRequestModel("gpt-4o-mini")
	time.Sleep(takes)
	if succeeds { // only an answer tells tokens
		var usage metrics.TokenUsage
		usage.SetInputTokens(11)
		usage.SetCachedInputTokens(5)
		usage.SetOutputTokens(7)
		one.SetResponseModel("gpt-4o-mini")
		one.RecordTokenUsage(ctx, usage, headers)
	}
	one.RecordRequestCompletion(ctx, succeeds, headers)
}

func expose(registry *prometheus.Registry, file string) {
	answer := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	check(os.WriteFile(file, answer.Body.Bytes(), 0o600))
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
