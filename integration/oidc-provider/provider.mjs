// A certified OpenID provider that nobody here wrote (npm oidc-provider), for the tests: on a port of its own, with new keys at each start.
// It prints its issuer's URL as its first line. Its client is `gateway` with the secret `gateway-secret`. What a token is, is said by its
// `resource` (RFC 8707): `urn:lictor:RS256`, `urn:lictor:ES256`, `urn:lictor:EdDSA` (JWTs, RFC 9068) or `urn:lictor:opaque`.
//
// POST /_rotate?keep=N takes new keys, and shows N of the old sets beside them.

import { createServer } from 'node:http';
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { Provider } from 'oidc-provider';

const SCOPES = 'orders:read orders:write';

// One private key of each kind, as JWKs.
function keys() {
  const made = [
    ['RS256', generateKeyPairSync('rsa', { modulusLength: 2048 })],
    ['ES256', generateKeyPairSync('ec', { namedCurve: 'P-256' })],
    ['EdDSA', generateKeyPairSync('ed25519')],
  ];
  return made.map(([alg, pair]) => ({ ...pair.privateKey.export({ format: 'jwk' }), alg, use: 'sig', kid: randomUUID() }));
}

// What the provider issues, for all of its sets of keys: a token that says nothing is known after a rotation, too.
const issued = new Map();

class Adapter {
  constructor(kind) {
    this.kind = kind;
  }

  key(id) {
    return `${this.kind}:${id}`;
  }

  async upsert(id, payload) {
    issued.set(this.key(id), payload);
  }

  async find(id) {
    return issued.get(this.key(id));
  }

  async destroy(id) {
    issued.delete(this.key(id));
  }
}

function resource(name) {
  const common = { scope: SCOPES, audience: name, accessTokenTTL: 300 };
  const alg = name.split(':').at(-1);
  if (alg === 'opaque') return { ...common, accessTokenFormat: 'opaque' };
  return { ...common, accessTokenFormat: 'jwt', jwt: { sign: { alg } } };
}

function provider(issuer, jwks) {
  return new Provider(issuer, {
    adapter: Adapter,
    clients: [{
      client_id: 'gateway',
      client_secret: 'gateway-secret',
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: [],
    }],
    scopes: ['openid', ...SCOPES.split(' ')],
    jwks: { keys: jwks },
    ttl: { ClientCredentials: 300 },
    enabledJWA: { dPoPSigningAlgValues: ['ES256', 'EdDSA'] },
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      dPoP: { enabled: true },
      introspection: { enabled: true, allowedPolicy: async () => true },
      resourceIndicators: {
        enabled: true,
        defaultResource: async () => undefined,
        getResourceServerInfo: async (_ctx, name) => resource(name),
        useGrantedResource: async () => true,
      },
      revocation: { enabled: true, allowedPolicy: async () => true },
    },
  });
}

let sets = [keys()];
let current;
const server = createServer((request, response) => {
  const url = new URL(request.url, issuer());
  if (request.method === 'POST' && url.pathname === '/_rotate') {
    const keep = Number(url.searchParams.get('keep') ?? 1);
    // The first key that fits signs, so the new ones stand before the old.
    sets = [keys(), ...sets.slice(0, keep)];
    current = provider(issuer(), sets.flat()).callback();
    response.end('{}');
    return;
  }
  current(request, response);
});
const issuer = () => `http://127.0.0.1:${server.address().port}`;
server.listen(0, '127.0.0.1', () => {
  current = provider(issuer(), sets.flat()).callback();
  console.log(issuer());
});
