// The same aggregate by KrakenD's core (Lura), for `cargo aggregates`: `aggregator PORT NAME=URL...` answers GET /page with an object that
// has a member for each NAME, the JSON that its URL answers with.
package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/luraproject/lura/v2/config"
	"github.com/luraproject/lura/v2/logging"
	"github.com/luraproject/lura/v2/proxy"
	lura "github.com/luraproject/lura/v2/router/gin"
	"github.com/luraproject/lura/v2/transport/http/server"
)

func main() {
	service, err := service(os.Args[1:])
	if err == nil {
		// No access log, as with the others.
		gin.SetMode(gin.ReleaseMode)
		lura.NewFactory(lura.Config{
			Engine:         gin.New(),
			HandlerFactory: lura.EndpointHandler,
			ProxyFactory:   proxy.DefaultFactory(logging.NoOp),
			Logger:         logging.NoOp,
			RunServer:      server.RunServer,
		}).NewWithContext(context.Background()).Run(service)
		err = fmt.Errorf("the server has ended")
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// One endpoint with a backend for each part, each in a group of its own name.
func service(arguments []string) (config.ServiceConfig, error) {
	none := config.ServiceConfig{}
	if len(arguments) < 2 {
		return none, fmt.Errorf("aggregator PORT NAME=URL...")
	}
	port, err := strconv.Atoi(arguments[0])
	if err != nil {
		return none, err
	}
	endpoint := &config.EndpointConfig{Endpoint: "/page", Method: "GET"}
	for _, part := range arguments[1:] {
		name, place, _ := strings.Cut(part, "=")
		at, err := url.Parse(place)
		if err != nil {
			return none, err
		}
		endpoint.Backend = append(endpoint.Backend, &config.Backend{
			Group:      name,
			Host:       []string{at.Scheme + "://" + at.Host},
			URLPattern: at.Path,
		})
	}
	service := config.ServiceConfig{
		Version:   config.ConfigVersion,
		Name:      "aggregator",
		Address:   "127.0.0.1",
		Port:      port,
		Timeout:   5 * time.Second,
		Endpoints: []*config.EndpointConfig{endpoint},
		// Go keeps two idle connections to a host unless told otherwise.
		MaxIdleConns:        1024,
		MaxIdleConnsPerHost: 256,
		IdleConnTimeout:     time.Minute,
	}
	return service, service.Init()
}
