/**
 * The status page and what hangs below it, for somebody who was let in: on the admin listener by a
 * token, on the login host by `login.statusPolicy`.
 */
import { type Context, Hono } from "hono";
import { getField } from "../../../http1/head.ts";
import { answerWith, NoRequest, toRequest } from "../../../net/app_response.ts";
import type { Exchange } from "../../../net/exchange.ts";
import type { Status } from "../../../domain/status.ts";
import { answerError } from "../../error_response.ts";
import { badRequest, bodyTooLarge, ownMethodRefused } from "../../request_errors.ts";
import { Notice, ownHeaders, page } from "../../pages/page.tsx";
import { listRequest } from "../../pages/pager.tsx";
import { Confirm, type ConfirmProps, Facts } from "../../pages/status/confirm.tsx";
import { statusPath } from "../../pages/status/links.ts";
import { type Section, sections, type StatusQuery } from "../../pages/status/model.ts";
import { scriptPath } from "../../pages/status/script.ts";
import { AsOf, StatusPage } from "../../pages/status/status_page.tsx";
import { requestIdOf } from "../../forward/request_id.ts";
import type { Relay } from "../../relay.ts";
import { readForm } from "../../signin/own_request.ts";
import { audited } from "./audited_action.ts";
import { type Ending, endings } from "./endings.ts";
import { formToken, isFormToken } from "./form_token.ts";
import { LiveEvents } from "./live_events.ts";
import { checkService } from "./service_check.ts";
import type { StatusViewer } from "./viewer.ts";

interface Asked {
  readonly viewer: StatusViewer;
  readonly exchange: Exchange;
}

interface StatusEnv {
  Bindings: Asked;
}

/** Answers {@link statusPath} and what is below it. */
export class StatusPages {
  readonly #relay: Relay;
  readonly #app = new Hono<StatusEnv>();
  readonly #events: LiveEvents;

  constructor(relay: Relay) {
    this.#relay = relay;
    this.#events = new LiveEvents({
      follow: (changed) => relay.status.follow(changed),
      isStopping: () => relay.isStopping,
    });
    relay.metrics.observeFollowers("status_events", () => this.#events.open);
    const app = this.#app;
    app.get(statusPath, (c) => this.#show(c, undefined));
    app.get(`${statusPath}/end`, (c) => this.#askToEnd(c));
    app.post(`${statusPath}/end`, (c) => this.#end(c));
    app.get(`${statusPath}/check`, (c) => this.#askToCheck(c));
    app.post(`${statusPath}/check`, (c) => this.#check(c));
    for (const section of sections) {
      app.get(`${statusPath}/${section}`, (c) => this.#show(c, section));
    }
    app.notFound((c) => notThere(c, "There is no such page."));
    app.onError((error) => this.#failed(error));
  }

  /** Event streams that are open. */
  get openStreams(): number {
    return this.#events.open;
  }

  /** Whether a path is one that this answers. */
  static answers(path: string): boolean {
    return /^\/status(?:[/?]|$)/.test(path);
  }

  /** Answers a request of somebody who was let in. @param origin what was asked for */
  async answer(exchange: Exchange, viewer: StatusViewer, origin: string): Promise<void> {
    const { target, method } = exchange.head;
    if (/^\/status\/events(?:\?|$)/.test(target) && method === "GET") {
      return await this.#follow(exchange, viewer);
    }
    const request = await toRequest(exchange, origin);
    if (request instanceof NoRequest) {
      const errors = { 400: badRequest, 405: ownMethodRefused, 413: bodyTooLarge };
      return answerError(exchange, errors[request.status]);
    }
    await answerWith(exchange, await this.#app.fetch(request, { viewer, exchange }));
  }

  async #follow(exchange: Exchange, { isLetIn }: StatusViewer): Promise<void> {
    if (this.#events.hasRoom) return this.#events.answer(exchange, isLetIn);
    this.#relay.metrics.limitHit("status-event-streams");
    const headers = [...ownHeaders, ["Retry-After", "30"]] as [string, string][];
    const text = "There are as many event streams as may be open.\n";
    await answerWith(exchange, new Response(text, { status: 503, headers }));
  }

  async #show(c: Context<StatusEnv>, section: Section | undefined): Promise<Response> {
    const { viewer } = c.env;
    const parameters = new URL(c.req.url).searchParams;
    const sort = parameters.get("sort") ?? "";
    const query: StatusQuery = { ...listRequest(parameters), section, sort };
    const status = await this.#relay.status.read(viewer.scope);
    const people = viewer.seesPeople ? await this.#relay.signIn?.signIn.people.list() : undefined;
    const history = viewer.scope ? [] : this.#relay.history.samples;
    return this.#page(
      c,
      "Status",
      <>
        <div class="row">
          <AsOf atMs={status.atMs} />
          <span id="live" class="state" role="status" hidden></span>
        </div>
        <StatusPage {...{ status, people, history, query }} isWhole={!viewer.scope} mayAct />
      </>,
    );
  }

  #page(
    { env: { viewer } }: Context<StatusEnv>,
    title: string,
    content: Parameters<typeof page>[1],
    status = 200,
    shape: "wide" | "card" = "wide",
  ): Response {
    const { bar, formOrigins } = viewer;
    return page(title, content, {
      ...{ status, shape, bar },
      ...formOrigins && { formOrigins },
      ...shape === "wide" && { scriptPath },
    });
  }

  async #read({ env: { viewer } }: Context<StatusEnv>): Promise<Status> {
    return await this.#relay.status.read(viewer.scope);
  }

  async #askToEnd(c: Context<StatusEnv>): Promise<Response> {
    const ending = endings.get(c.req.query("what") ?? "");
    const id = c.req.query("id") ?? "";
    if (!ending || (ending.isAboutPeople && !c.env.viewer.seesPeople)) {
      return notThere(c, "There is nothing of this kind to end.");
    }
    const facts = await ending.facts(await this.#read(c), this.#relay, id);
    if (!facts) return notThere(c, "It no longer exists.");
    const { text, label, what } = ending;
    return await this.#confirm(c, ending.title, {
      ...{ text, label, facts },
      fields: { what, id },
      action: `${statusPath}/end`,
      isDangerous: true,
    });
  }

  async #confirm(
    c: Context<StatusEnv>,
    title: string,
    { fields, ...props }: ConfirmProps,
  ): Promise<Response> {
    const { browserSecret } = c.env.viewer;
    const token = browserSecret === undefined ? {} : { token: await formToken(browserSecret) };
    const form = { ...fields, ...token };
    return this.#page(c, title, <Confirm {...props} fields={form} />, 200, "card");
  }

  async #end(c: Context<StatusEnv>): Promise<Response> {
    const form = await this.#ownForm(c);
    if (form instanceof Response) return form;
    const { viewer } = c.env;
    const ending = endings.get(form.get("what") ?? "");
    if (!ending || (ending.isAboutPeople && !viewer.seesPeople)) {
      return notThere(c, "There is nothing of this kind to end.");
    }
    const isEnded = await this.#audited(c, ending, form.get("id") ?? "");
    if (isEnded === "unrecorded") {
      return notThere(c, "The audit log can't be written. Nothing was done.", 503);
    }
    if (!isEnded) return notThere(c, "It no longer exists.");
    const headers = new Headers(ownHeaders as [string, string][]);
    headers.set("Location", statusPath);
    return new Response(null, { status: 303, headers });
  }

  async #audited({ env: { viewer, exchange } }: Context<StatusEnv>, ending: Ending, id: string) {
    const about = {
      ...ending.audit,
      name: id.slice(0, 253),
      by: viewer.name,
      address: exchange.peer.address,
      request_id: requestIdOf(exchange.head.fields),
    };
    return await audited(this.#relay, about, () => ending.end(this.#relay, id, viewer));
  }

  /** The fields of a form that one of this browser's own pages has sent, or the answer to another. */
  async #ownForm(c: Context<StatusEnv>): Promise<URLSearchParams | Response> {
    const { viewer: { browserSecret }, exchange: { head: { fields } } } = c.env;
    const form = await readForm(c.req.raw);
    if (!form) return notThere(c, "This page has no such form.", 400);
    if (browserSecret === undefined) return form;
    const site = getField(fields, "sec-fetch-site");
    const isForeign = site !== undefined && site !== "same-origin" && site !== "none";
    if (!isForeign && await isFormToken(form.get("token"), browserSecret)) return form;
    const text =
      "The form comes from another page, or from before you signed in. Nothing was done.";
    return notThere(c, text, 403);
  }

  async #askToCheck(c: Context<StatusEnv>): Promise<Response> {
    const service = await this.#serviceOf(c, c.req.query("service") ?? null);
    if (!service) return notThere(c, "There is no such service.");
    return await this.#confirm(c, `Check ${service.name}?`, {
      text: service.kind === "http"
        ? "The relay sends HEAD / through an agent to the target, with the target's credential if it has one."
        : "The relay has an agent connect to the target, and ends the connection.",
      facts: [["Service", service.name], ["Cluster", service.cluster]],
      fields: { service: service.name },
      action: `${statusPath}/check`,
      label: "Check now",
      isDangerous: false,
    });
  }

  async #check(c: Context<StatusEnv>): Promise<Response> {
    const form = await this.#ownForm(c);
    if (form instanceof Response) return form;
    const service = await this.#serviceOf(c, form.get("service"));
    if (!service) return notThere(c, "There is no such service.");
    const { isReached, text, facts } = await checkService(this.#relay, service.name);
    return this.#page(
      c,
      `Check of ${service.name}`,
      <>
        <p class={`note ${isReached ? "good" : "bad"}`}>{text}</p>
        <Facts facts={facts} />
        <div class="actions">
          <a class="button quiet" href={statusPath}>Back</a>
        </div>
      </>,
      200,
      "card",
    );
  }

  async #serviceOf(c: Context<StatusEnv>, name: string | null) {
    return (await this.#read(c)).services.find((service) => service.name === name);
  }

  #failed(error: Error): Response {
    this.#relay.log.error("The status page failed", { error: error.name, at: placeOf(error) });
    const text = "Something went wrong at the relay. Its log says what.";
    return page("The status page has failed", <Notice text={text} />, { status: 503 });
  }
}

/** The message may cite what was asked for; the stack's first place says where it was. */
function placeOf({ stack }: Error): string | undefined {
  return stack?.split("\n").find((line) => line.trimStart().startsWith("at "))?.trim();
}

function notThere({ env: { viewer } }: Context<StatusEnv>, text: string, status = 404): Response {
  const link = { href: statusPath, label: "Back to the status" };
  const { bar } = viewer;
  return page(status === 404 ? "Not found" : "Not done", <Notice {...{ text, link }} />, {
    status,
    bar,
  });
}
