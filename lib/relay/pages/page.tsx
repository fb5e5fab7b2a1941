/** The relay's own pages. Each is made here whole; whatever it loads comes from its own host. */
import type { Child } from "hono/jsx";
import { iconPath, Mark } from "./icon.tsx";
import { stylePath } from "./style.ts";
import { visible } from "./visible.ts";

/** What goes around a page. */
export interface PageOptions {
  readonly status: number;
  readonly headers?: readonly (readonly [name: string, value: string])[];
  /** Origins to which the page's forms lead, redirects included, besides its own. */
  readonly formOrigins?: readonly string[];
  /** Which pages may frame it: none, unless told. */
  readonly frameAncestors?: string;
  /** `card`: one message in the middle; `wide`: lists and tables below a bar. A card unless told. */
  readonly shape?: "card" | "wide";
  /** What stands in the bar, opposite the mark. */
  readonly bar?: Child;
  /** A script of the page's own host, which improves a page that works without it. */
  readonly scriptPath?: string;
  /**
   * Where the browser goes on to by itself. Unlike a redirect, that is not held to the `form-action` of
   * the page whose form led here (CSP level 3, 6.4.1), be it a provider's.
   */
  readonly next?: string;
}

type LayoutProps = Pick<PageOptions, "shape" | "bar" | "scriptPath"> & {
  readonly title: string;
  readonly next: string | undefined;
  readonly children: Child;
};

function Layout({ title, next, shape = "card", bar, scriptPath, children }: LayoutProps) {
  return (
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        {next !== undefined && <meta http-equiv="refresh" content={`0;url=${next}`} />}
        <title>{`${visible(title)} · culvert`}</title>
        <link rel="icon" href={iconPath} type="image/svg+xml" />
        <link rel="stylesheet" href={stylePath} />
        {scriptPath !== undefined && <script src={scriptPath} defer />}
      </head>
      <body class={shape}>
        <header class="bar">
          <span class="brand">
            <Mark />
            culvert
          </span>
          {bar}
        </header>
        <main>
          <h1>{visible(title)}</h1>
          {children}
        </main>
      </body>
    </html>
  );
}

/** Answers with a page. */
export function page(title: string, content: Child, options: PageOptions): Response {
  const { shape, bar, scriptPath, next } = options;
  const html = `<!doctype html>\n${(
    <Layout
      {...{ title, ...shape && { shape }, ...scriptPath && { scriptPath } }}
      next={next}
      bar={bar}
    >
      {content}
    </Layout>
  )}`;
  const headers = new Headers(ownHeaders);
  headers.set("Content-Type", "text/html; charset=utf-8");
  headers.set("Content-Security-Policy", policyOf(options));
  // With `no-referrer`, browsers send forms with `Origin: null`, and the page's own would look foreign.
  if (options.formOrigins) headers.set("Referrer-Policy", "same-origin");
  if (options.frameAncestors === undefined) headers.set("X-Frame-Options", "DENY");
  for (const [name, value] of options.headers ?? []) headers.append(name, value);
  return new Response(html, { status: options.status, headers });
}

/** What goes with every answer of the relay's own at a hostname. */
export const ownHeaders: readonly [string, string][] = [
  ["Cache-Control", "no-store"],
  ["Referrer-Policy", "no-referrer"],
  ["X-Content-Type-Options", "nosniff"],
  ["Vary", "Cookie"],
];

function policyOf(
  { formOrigins = [], frameAncestors = "'none'", scriptPath }: PageOptions,
): string {
  return [
    "default-src 'none'",
    "style-src 'self'",
    "img-src 'self'",
    ...scriptPath === undefined ? [] : ["script-src 'self'", "connect-src 'self'"],
    `form-action ${["'self'", ...new Set(formOrigins)].join(" ")}`,
    `frame-ancestors ${frameAncestors}`,
    "base-uri 'none'",
  ].join("; ");
}

/** What happened and what can be done, for the pages that say no more. */
export interface NoticeProps {
  readonly text: string;
  readonly link?: NoticeLink;
  /** Several links, in place of one. */
  readonly links?: readonly NoticeLink[];
  readonly requestId?: string | undefined;
}

/** A link that looks like a button. */
export interface NoticeLink {
  readonly href: string;
  readonly label: string;
  readonly target?: string;
}

/** A sentence, and perhaps links. */
export function Notice({ text, link, links = link ? [link] : [], requestId }: NoticeProps) {
  return (
    <>
      <p>{visible(text, 1_000)}</p>
      {links.length > 0 && (
        <div class="actions">
          {links.map(({ href, label, target }) => (
            <a class="button" href={href} {...target !== undefined && { target }}>
              {visible(label)}
            </a>
          ))}
        </div>
      )}
      <RequestId id={requestId} />
    </>
  );
}

function RequestId({ id }: { readonly id: string | undefined }) {
  return id === undefined ? null : (
    <p class="fine">
      Request <code>{visible(id)}</code>
    </p>
  );
}

/** Who is signed in, and why that is not enough. */
export interface DeniedProps {
  readonly username: string;
  readonly provider: string;
  readonly service: string;
  readonly missing: readonly string[];
  readonly tellsGroups: boolean;
  /** The requests with which they would be let in, in words. */
  readonly otherRequests?: string | undefined;
  /** Signs in again, as somebody else. */
  readonly switchUrl: string;
  readonly requestId: string | undefined;
}

/** The page of somebody whom a policy does not let in. */
export function Denied(props: DeniedProps) {
  const { username, provider, service, missing, tellsGroups, otherRequests } = props;
  return (
    <>
      <p>
        {otherRequests === undefined
          ? "You are signed in, but the policy of this service does not let you in."
          : `You are signed in, but the policy of this service lets you in only ${
            visible(otherRequests, 600)
          }.`}
      </p>
      <dl>
        <dt>Account</dt>
        <dd>
          <Name>{username}</Name> ({visible(provider)})
        </dd>
        <dt>Service</dt>
        <dd>{visible(service)}</dd>
        {missing.length > 0 && (
          <>
            <dt>Missing</dt>
            {missing.map((rule) => <dd key={rule}>{visible(rule, 600)}</dd>)}
          </>
        )}
      </dl>
      {!tellsGroups && (
        <p>
          The provider has not told the groups of this account (groups not told), so no rule about
          groups can match.
        </p>
      )}
      <div class="actions">
        <a class="button" href={props.switchUrl}>Use another account</a>
      </div>
      <RequestId id={props.requestId} />
    </>
  );
}

/** A name that somebody chose, in whatever script: it does not change how the text around it reads. */
export function Name({ children }: { readonly children: string }) {
  return <bdi>{visible(children)}</bdi>;
}

/** A button that sends an empty form. */
export interface ActionProps {
  readonly action: string;
  readonly label: string;
}

/** @see ActionProps */
export function Action({ action, label }: ActionProps) {
  return (
    <form method="post" action={action}>
      <button type="submit">{label}</button>
    </form>
  );
}
