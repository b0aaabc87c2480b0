// A real OpenID Connect provider for tests: whoever types a name is that. Called with
// the only address it may send people back to; prints its own.
import { createServer } from 'node:http';
import { Provider } from 'oidc-provider';

const [redirect] = process.argv.slice(2);
const server = createServer();
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;
const provider = new Provider(issuer, {
  clients: [{ client_id: 'holt', client_secret: 'secret-of-holt', redirect_uris: [redirect] }],
  pkce: { required: () => true },
  claims: { email: ['email', 'email_verified'], profile: ['preferred_username'] },
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => {
      const [name, domain = 'school.example'] = id.split('@');
      return { sub: id, email: `${name}@${domain}`, email_verified: !name.startsWith('unchecked'), preferred_username: name };
    },
  }),
  features: { devInteractions: { enabled: true } },
});
server.on('request', provider.callback());
console.log(issuer);
process.stdin.resume();
process.stdin.on('end', () => process.exit(0)); // the test has gone
