/** A relay with a login host and services, its agent, a target, and a browser, over real sockets. */
import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import { startAgent, startRelay } from "../support/programs.ts";
import { RealOidcProvider } from "./oidc_provider.ts";
import { clientId, clientSecret } from "./fake_provider.ts";
import { freePort } from "../support/free_port.ts";
import { navigation } from "./world.ts";

const token = "signin-agent-token-0123456789";

/** What a running system consists of. */
export interface System extends AsyncDisposable {
  /** The port of the web listener. */
  readonly port: number;
  readonly services: string;
  readonly provider: RealOidcProvider;
  readonly relay: Awaited<ReturnType<typeof startRelay>>;
  /** The services' file, for tests that change it. */
  readonly text: string;
}

/** Origins of the hosts: all of them mean loopback. */
export function originOf(system: { readonly port: number }, name: string): string {
  return `http://${name}.localhost:${system.port}`;
}

/** Starts all of it. @param target of the services */
export async function startSystem(
  target: string,
  change: (text: string) => string = (text) => text,
): Promise<System> {
  const port = freePort();
  const login = `http://login.localhost:${port}/.culvert`;
  const provider = await RealOidcProvider.start(`${login}/callback`, `${login}/signed-out`);
  const text = change(`
login: { host: "login.localhost:${port}", provider: corp }
providers:
  - { name: corp, kind: oidc, issuer: "${provider.issuer}", clientId: ${clientId},
      clientSecret: ${clientSecret}, scopes: [openid, email, offline_access] }
policies:
  - { name: staff, any: [{ emailDomain: example.com }] }
  - { name: admins, any: [{ claim: groups, value: admins }] }
services:
  - { name: app, hostnames: ["app.localhost:${port}"], cluster: dev, target: "${target}", policy: staff,
      anonymousPaths: [/manifest.json] }
  - { name: other, hostnames: ["other.localhost:${port}"], cluster: dev, target: "${target}", policy: staff }
  - { name: closed, hostnames: ["closed.localhost:${port}"], cluster: dev, target: "${target}", policy: admins }
  - { name: open, hostnames: ["open.localhost:${port}"], cluster: dev, target: "${target}", policy: public }
`);
  const services = await Deno.makeTempFile({ suffix: ".yaml" });
  await Deno.writeTextFile(services, text);
  const relay = await startRelay({
    clusters: [{ id: "dev", token, targetAddr: target }],
    args: ["-services", services, "-web-addr", `127.0.0.1:${port}`],
  });
  await relay.waitForLog(({ message, listener }) => message === "Listening" && listener === "web");
  const agent = await startAgent({ relayUrl: relay.connectUrl, token, target });
  await relay.waitForLog(({ message }) => message === "Agent connected");
  return {
    port,
    services,
    text,
    provider,
    relay,
    async [Symbol.asyncDispose]() {
      await agent[Symbol.asyncDispose]();
      await relay[Symbol.asyncDispose]();
      await provider[Symbol.asyncDispose]();
      await Deno.remove(services);
    },
  };
}

/** An answer, with its body as text. */
export interface Answer {
  readonly url: string;
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
}

/** Keeps cookies for each host, and follows redirects; resolves every name to loopback. */
export class SocketBrowser {
  /** The port of the relay to which a request goes; that of its URL unless told. */
  portOf: (url: URL) => number = ({ port }) => Number(port);
  readonly jars = new Map<string, Map<string, string>>();
  readonly #ca: string | undefined;

  /** @param ca verifies hosts that speak TLS */
  constructor(ca?: string) {
    this.#ca = ca;
  }

  jar(hostname: string): Map<string, string> {
    const jar = this.jars.get(hostname) ?? new Map<string, string>();
    this.jars.set(hostname, jar);
    return jar;
  }

  cookies(hostname: string): string {
    return [...this.jar(hostname)].map(([name, value]) => `${name}=${value}`).join("; ");
  }

  /** One request. */
  send(
    url: string,
    { method = "GET", headers = {}, body }: {
      readonly method?: string;
      readonly headers?: Readonly<Record<string, string>>;
      readonly body?: string;
    } = {},
  ): Promise<Answer> {
    const { protocol, hostname, pathname, search, host } = new URL(url);
    const port = this.portOf(new URL(url));
    const jar = this.jar(hostname);
    const cookie = this.cookies(hostname);
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    const send = protocol === "https:" ? httpsRequest : httpRequest;
    const request = send({
      ...protocol === "https:" && { ca: this.#ca, servername: hostname },
      host: "127.0.0.1",
      port,
      path: pathname + search,
      method,
      agent: false,
      headers: { Host: host, ...cookie !== "" && { Cookie: cookie }, ...headers },
    }, (response) => {
      for (const line of response.headers["set-cookie"] ?? []) {
        const [pair = "", ...attributes] = line.split(";");
        const equals = pair.indexOf("=");
        const [name, value] = [pair.slice(0, equals), pair.slice(equals + 1)];
        const isOver = attributes.some((it) => /^ *(?:max-age=0|expires=.*1970.*)$/i.test(it));
        if (isOver) jar.delete(name);
        else jar.set(name, value);
      }
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (piece: string) => text += piece);
      response.on(
        "end",
        () => resolve({ url, status: response.statusCode!, headers: response.headers, text }),
      );
      response.on("error", reject);
    });
    request.on("error", reject);
    request.end(body);
    return promise;
  }

  /** Opens a page and follows to where it leads. */
  async open(url: string): Promise<Answer> {
    for (let hops = 0; hops < 20; hops++) {
      const answer = await this.send(url, { headers: navigation });
      const location = answer.headers["location"];
      if (typeof location !== "string") return answer;
      url = new URL(location, url).href;
    }
    throw new Error(`Goes round in a circle at ${url}`);
  }
}
