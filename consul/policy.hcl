# What the gateway's token needs, and no more.
service_prefix "" {
  policy = "read"
}
# Without this, health answers are empty although their status is 200.
node_prefix "" {
  policy = "read"
}
# Optional: the agent tells its own node's name, without which instances on loopback are refused.
agent_prefix "" {
  policy = "read"
}
# Only with [fleet]: the gateway registers itself, as the service that is named there.
service "lictor" {
  policy = "write"
}
