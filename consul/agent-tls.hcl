# consul agent -config-file=consul/agent-tls.hcl …     (Consul 1.12 and later; before, the keys stand at the top, without `tls`)
# HTTPS only, and only for those who show a certificate of the CA. The files:
#   consul tls ca create; consul tls cert create -server; consul tls cert create -client
ports {
  http  = -1
  https = 8501
}
tls {
  defaults {
    ca_file         = "consul-agent-ca.pem"
    cert_file       = "dc1-server-consul-0.pem"
    key_file        = "dc1-server-consul-0-key.pem"
    verify_incoming = true
    verify_outgoing = true
  }
}
