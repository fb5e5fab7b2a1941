/** Chromium without a window, and what its pages' WebSockets receive. */
import { createHash, X509Certificate } from "node:crypto";
import { existsSync } from "node:fs";
import puppeteer, { type Browser, type Page } from "puppeteer-core";
import { within } from "../../support/deadline.ts";

/** The pages of these applications take long to load on machines with few cores. */
export const PAGE_TIMEOUT_MS = 60_000;

/** Runs in the page, so it is text: there is no DOM for the type checker. */
const visibleText = '(document.body?.innerText ?? "")';

/**
 * Starts a browser of its own profile. Names below `localhost` are loopback to it, without DNS.
 *
 * @param trusted PEM of certificates that it takes, besides those of public CAs
 */
export async function startBrowser(trusted: readonly string[] = []): Promise<Browser> {
  const keys = trusted.map(keyDigest).join(",");
  return await puppeteer.launch({
    executablePath: installedBrowser(),
    // The tests run as root in containers, where the sandbox does not work.
    args: [
      ...["--no-sandbox", "--disable-dev-shm-usage"],
      ...keys === "" ? [] : [`--ignore-certificate-errors-spki-list=${keys}`],
    ],
    timeout: PAGE_TIMEOUT_MS,
  });
}

/** SHA-256 of a certificate's public key, as Chromium's option wants it. */
function keyDigest(pem: string): string {
  const key = new X509Certificate(pem).publicKey.export({ type: "spki", format: "der" });
  return createHash("sha256").update(key).digest("base64");
}

/** Debian's chromium, or the Chrome of GitHub's runners. */
function installedBrowser(): string {
  const paths = ["/usr/bin/chromium", "/usr/bin/google-chrome"];
  const found = paths.find((path) => existsSync(path));
  if (found === undefined) throw new Error(`No browser: there is none of ${paths.join(", ")}`);
  return found;
}

/** A page, and what came over its WebSockets. */
export class WatchedPage implements AsyncDisposable {
  readonly page: Page;
  /** URLs of its WebSockets. */
  readonly sockets: string[] = [];
  /** Responses of status 400 and higher, for failure messages. */
  readonly failures: string[] = [];
  /** Protocols of its responses, such as `h2`. */
  readonly protocols = new Set<string>();
  readonly #received: string[] = [];
  #wake = Promise.withResolvers<void>();

  private constructor(page: Page) {
    this.page = page;
  }

  static async open(browser: Browser, url: string): Promise<WatchedPage> {
    const page = await browser.newPage();
    const watched = new WatchedPage(page);
    page.setDefaultTimeout(PAGE_TIMEOUT_MS);
    await watched.#watch();
    await page.goto(url, { waitUntil: "domcontentloaded" });
    return watched;
  }

  async #watch(): Promise<void> {
    const session = await this.page.createCDPSession();
    await session.send("Network.enable");
    session.on("Network.responseReceived", ({ response: { protocol, url } }) => {
      if (protocol && /^https?:/.test(url)) this.protocols.add(protocol);
    });
    session.on("Network.webSocketCreated", ({ url }) => this.sockets.push(url));
    session.on("Network.webSocketFrameReceived", ({ response }) => {
      this.#received.push(response.payloadData);
      this.#wake.resolve();
      this.#wake = Promise.withResolvers();
    });
    this.page.on("response", (response) => {
      if (response.status() >= 400) this.failures.push(`${response.status()} ${response.url()}`);
    });
  }

  /** Waits until the page's visible text holds this. */
  async shows(text: string): Promise<void> {
    await this.#explained(
      `the page to show ${JSON.stringify(text)}`,
      this.holds(`${visibleText}.includes(${JSON.stringify(text)})`),
    );
  }

  /**
   * Waits until an expression is true in whatever document the page has then. `waitForFunction` asks with
   * each frame that is drawn, of which there are none in the background.
   */
  async holds(expression: string): Promise<void> {
    const deadlineMs = Date.now() + PAGE_TIMEOUT_MS;
    while (!await this.#isTrue(expression)) {
      if (Date.now() > deadlineMs) throw new Error(`${expression} is not true`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** While the page goes on to another document, nothing is true. */
  async #isTrue(expression: string): Promise<boolean> {
    try {
      return Boolean(await this.page.evaluate(expression));
    } catch (error) {
      if (error instanceof Error && /context|frame|navigat/i.test(error.message)) return false;
      throw error;
    }
  }

  /** Clicks what this selector names, once it is there and visible. */
  async click(selector: string): Promise<void> {
    await this.#explained(`a click on ${selector}`, this.page.locator(selector).click());
  }

  /** Waits until a WebSocket has received this text, in one message or several. */
  async receives(text: string): Promise<void> {
    const arrives = async () => {
      while (!this.#received.join("").includes(text)) await this.#wake.promise;
    };
    await this.#explained(
      `a WebSocket to receive ${JSON.stringify(text)}`,
      within(arrives(), "it", PAGE_TIMEOUT_MS),
    );
  }

  /** Adds to an error what the page looks like. */
  async #explained(what: string, promise: Promise<unknown>): Promise<void> {
    try {
      await promise;
    } catch (cause) {
      const text = String(await this.page.evaluate(visibleText));
      const lines = [
        `Waited for ${what} at ${this.page.url()}, which shows:`,
        text.slice(0, 2_000),
        `Failed responses: ${this.failures.join(", ") || "none"}`,
        `WebSockets: ${this.sockets.join(", ") || "none"}; received:`,
        this.#received.join("\n").slice(-2_000),
      ];
      throw new Error(lines.join("\n"), { cause });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.page.close();
  }
}
