# consul agent -dev -config-file=consul/agent-dev.hcl
# An agent for one machine, in memory, on loopback.
bind_addr   = "127.0.0.1"
client_addr = "127.0.0.1"
log_level   = "warn"
limits {
  http_max_conns_per_client = 200
}
