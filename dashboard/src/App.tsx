import { useCallback, useEffect, useMemo, useState, useSyncExternalStore } from "react";
import { Api, type Config, isAlive, Problem, readConfig } from "./live/http";
import { CentrifugeRealtime } from "./live/realtime";
import { Session } from "./live/session";
import { HttpSnapshots } from "./live/snapshots";
import { forgetToken, heldToken, keepToken, tenantOf } from "./token";
import { Frame, Logo } from "./ui/Frame";
import { RunsPage } from "./ui/RunsPage";
import { SignIn } from "./ui/SignIn";
import { formatQuery, parseQuery, type Query } from "./view/query";

export function App() {
  const { config, problem, retry } = useConfig();
  const [token, setToken] = useState(heldToken);
  const [refused, setRefused] = useState(false);

  const signIn = (entered: string) => {
    keepToken(entered);
    setRefused(false);
    setToken(entered);
  };
  const signOut = useCallback((wasRefused: boolean) => {
    forgetToken();
    setRefused(wasRefused);
    setToken(null);
  }, []);

  if (token === null) return <SignIn refused={refused} onToken={signIn} />;
  if (config === null) return <Opening problem={problem} onRetry={retry} />;
  const tenant = tenantOf(token) ?? config.tenant;
  if (tenant === null) return <SignIn refused onToken={signIn} />;
  return <SignedIn key={token} config={config} tenant={tenant} token={token} onSignOut={signOut} />;
}

function Opening({ problem, onRetry }: { problem: string | null; onRetry: () => void }) {
  return (
    <main className="sign-in">
      <div className="opening">
        <Logo />
        {problem === null ? (
          <p role="status">Opening…</p>
        ) : (
          <>
            <p role="alert">The notifier, which serves this page, {problem}.</p>
            <button type="button" onClick={onRetry}>
              Retry
            </button>
          </>
        )}
      </div>
    </main>
  );
}

interface SignedInProps {
  config: Config;
  tenant: string;
  token: string;
  onSignOut: (refused: boolean) => void;
}

function SignedIn({ config, tenant, token, onSignOut }: SignedInProps) {
  const session = useMemo(() => {
    const api = new Api(token);
    return new Session({
      tenant,
      clockAheadMs: config.clockAheadMs,
      realtime: (events) => new CentrifugeRealtime(api, config.notifier, events),
      snapshots: new HttpSnapshots(api, config),
      alive: (service) => isAlive(config[service]),
      looked: () => document.visibilityState === "visible",
      onUnauthorized: () => onSignOut(true),
    });
  }, [config, tenant, token, onSignOut]);
  useEffect(() => {
    const noteOnline = () => session.setOnline(navigator.onLine);
    const look = () => document.visibilityState === "visible" && session.look();
    noteOnline();
    session.start();
    window.addEventListener("online", noteOnline);
    window.addEventListener("offline", noteOnline);
    document.addEventListener("visibilitychange", look);
    return () => {
      window.removeEventListener("online", noteOnline);
      window.removeEventListener("offline", noteOnline);
      document.removeEventListener("visibilitychange", look);
      session.stop();
    };
  }, [session]);
  const view = useSyncExternalStore(session.subscribe, session.view);
  const [query, setQuery] = useQuery();
  return (
    <Frame
      tenant={tenant}
      connection={view.connection}
      onReconnect={session.reconnect}
      onSignOut={() => onSignOut(false)}
    >
      <RunsPage session={session} view={view} query={query} prefectUi={config.prefect_ui} onQuery={setQuery} />
    </Frame>
  );
}

function useConfig() {
  const [config, setConfig] = useState<Config | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const [attempt, setAttempt] = useState(0);
  useEffect(() => {
    let wanted = true;
    setProblem(null);
    readConfig().then(
      (read) => wanted && setConfig(read),
      (error: unknown) => wanted && setProblem(error instanceof Problem ? error.message : String(error)),
    );
    return () => {
      wanted = false;
    };
  }, [attempt]);
  return { config, problem, retry: () => setAttempt(attempt + 1) };
}

/** The address is the state: going back undoes a filter; each letter typed is not a step of its own. */
function useQuery(): [Query, (change: Partial<Query>, typing?: boolean) => void] {
  const [query, setQuery] = useState(() => parseQuery(location.search));
  useEffect(() => {
    const read = () => setQuery(parseQuery(location.search));
    window.addEventListener("popstate", read);
    return () => window.removeEventListener("popstate", read);
  }, []);
  const change = useCallback((part: Partial<Query>, typing = false) => {
    const next = { ...parseQuery(location.search), ...part };
    const address = location.pathname + formatQuery(next);
    if (typing) history.replaceState(null, "", address);
    else history.pushState(null, "", address);
    setQuery(next);
  }, []);
  return [query, change];
}
