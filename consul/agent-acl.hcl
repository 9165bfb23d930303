# consul agent -config-file=consul/agent-acl.hcl …
# Nobody sees anything without a token. The gateway's:
#   consul acl bootstrap                              (its SecretID is CONSUL_HTTP_TOKEN of the next two)
#   consul acl policy create -name lictor -rules @consul/policy.hcl
#   consul acl token create -description lictor -policy-name lictor
acl {
  enabled                  = true
  default_policy           = "deny"
  enable_token_persistence = true
}
