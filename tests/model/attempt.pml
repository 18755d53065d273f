/*
 * One op with one retry, from its submission to the end of its last record, with batchd, the
 * spawner, the store and the op's process as what they are: four things that can be in the middle
 * of something when one of them is killed or the power goes. Every step below is one that a kill
 * can come before and after; what is in memory goes with its process, the spawner's table goes with
 * the power (or is swept away with its folder), what is committed stays. The run is always
 * submitted again until it is answered.
 *
 *   submit         accept.c                            | frame           conn_start, keep_start: keep_fill
 *   claim          claims_ask, claims_flush            | clone           child_vfork: the kernel stores the pid
 *   commit         store_apply: one transaction        | turn            start_op, then keep_runs
 *   posts          turn.c: POST_CLAIM, POST_ACK        | store_status    keep_reap: waitid(WNOWAIT)
 *   START          effect_start, exec_local_start      | reap            keep_own_ended, then waitpid
 *   got            local_on_report                     | EXIT            keep_finish; keep_fd_event of an orphan
 *   ended          engine_op_ended                     | spawner_begins  keep_inherit
 *   connect        link_begin, link_hello_ok           | reap_child      local_reap
 *   live_known     local_known, local_forgotten        | recover_*       exec_local_recover, recover.c
 *   exit_known     local_exit, attempt_adopt           | db_table        spawner_link_settle
 *
 * What must hold: an attempt is executed once at most; `succeeded` is stored only with its exit in
 * hand; what was answered is in the store; `lost` is stored only after a power cut, a swept table,
 * or the death of both (with SYSTEMD: of the spawner, whose children go to init); and every state
 * without a next step is one where the op is settled and no record of it is left.
 *
 * Each WRONG is a mistake that was made or nearly made; the model must find it, or it proves
 * nothing. See tests/model/meson.build.
 */
#ifndef WRONG
#define WRONG 0
#endif
#define START_BEFORE_CLAIM 1   /* START does not wait for its claim's commit */
#define ACK_BEFORE_COMMIT 2    /* the record is let go before the result is stored */
#define REAP_BEFORE_STORE 3    /* waitpid first, then the table */
#define TABLE_AFTER_CLONE 4    /* the record is made when the process is */
#define BOOT_BEFORE_LOST 5     /* that boot and table are known is stored before what it cost */
#define TABLE_ID_BEFORE_LOST 6 /* the same of the table's number */
#define NO_SECOND_LOOK 7       /* a child of a spawner that died is not waited for */
#define NO_PID_IS_LOST 8       /* a record without a pid counts as an op that ran */
#define TABLE_IN_MEMORY 9      /* the table dies with the spawner */
#define SETTLED_WITH_THE_LOST 10 /* a swept table counts as known while an end is only in hand */

#ifndef KILLS
#define KILLS 3 /* in all, of whom it pleases */
#endif
#define TRIES 2
#define ALL(a) a : 1 .. TRIES

mtype = { NONE, ASKED, DURABLE };			    /* claims */
mtype = { READY, STARTING, RUNNING, ENDED };		    /* the engine's op */
mtype = { GOOD, BAD, LOST };				    /* ends */
mtype = { SENT, RUNS, EXITED, TOLD };			    /* exec_local's attempt */
mtype = { FREE, T_STARTING, T_RUNNING, T_REAPED, T_EXITED, T_ORPHAN, T_LOST }; /* records */
mtype = { UNBORN, ALIVE, ZOMBIE, GONE };		    /* processes */
mtype = { SPAWNER, BATCHD, INIT };			    /* their parents */
mtype = { START, ACK, QUERY, STARTED, EXIT, BUSY, KNOWN_END, DOWN, SYNC, UP };

/* The store, and the file that says which table was in use. */
bool db_run, db_claim;
mtype db_end = NONE;
byte db_tries;
bool boot, db_boot;  /* turned by a power cut */
byte table, db_table; /* the table's number */

/* batchd */
bool b_up, b_loaded, b_recovering, b_recovered, b_swept;
mtype b_phase, b_claim, b_link, b_end;
byte b_try, b_table;
mtype x[3] = NONE, x_end[3] = NONE;
bool x_child[3], x_swept[3];
bool p_run, p_claim, p_try, p_end, p_boot, p_ack[3]; /* in the transaction */
bool c_run, c_claim, c_ack[3];			      /* committed, not yet acted upon */

/* the spawner */
bool s_up, s_ours, s_conn;
byte s_busy, s_step;
mtype t[3] = FREE, t_end[3] = NONE, snap[3] = FREE, snap_end[3] = NONE;
bool t_pid[3];

/* the op */
mtype proc[3] = UNBORN, parent[3] = SPAWNER, exits[3] = NONE;
byte runs[3];

chan to_s = [6] of { mtype, byte };
chan to_b = [6] of { mtype, byte };

bool answered, once_busy, cut, swept, killed_b, killed_s, over;
byte kills, i;

inline clear(c)
{
	do
	:: nempty(c) -> c ? _, _
	:: empty(c) -> break
	od
}

inline hear(what, a)
{
	if
	:: s_conn && b_up -> to_b ! what, a
	:: else
	fi
}

inline say(what, a)
{
	if
	:: b_link == UP && s_conn -> to_s ! what, a
	:: else
	fi
}

/* --- batchd --- */

inline batchd_forgets()
{
	b_loaded = false; b_recovering = false; b_recovered = false; b_swept = false;
	b_phase = READY; b_claim = NONE; b_link = DOWN; b_end = NONE; b_try = 0;
	p_run = false; p_claim = false; p_try = false; p_end = false;
	p_boot = false; c_run = false; c_claim = false;
	for (ALL(i)) {
		x[i] = NONE; x_end[i] = NONE; x_child[i] = false; x_swept[i] = false; p_ack[i] = false;
		c_ack[i] = false
	}
	clear(to_b)
}

inline batchd_loads()
{
	b_loaded = true;
	b_recovering = true;
	b_try = db_tries;
	b_phase = (db_end != NONE -> ENDED : READY);
	b_claim = (db_claim -> DURABLE : NONE);
	b_recovered = db_claim
}

/* engine_op_ended */
inline ended(a)
{
	if
	:: !db_run || b_try != a || b_phase == ENDED || b_phase == READY ->
		x[a] = NONE;
		x_swept[a] = false;
		say(ACK, a)
	:: else ->
		x[a] = TOLD;
		if
		:: x_end[a] == BAD && a < TRIES -> b_phase = READY; p_try = true
		:: else -> b_phase = ENDED; b_end = x_end[a]; p_end = true
		fi;
		if
		:: WRONG == ACK_BEFORE_COMMIT -> x[a] = NONE; x_swept[a] = false; say(ACK, a)
		:: else -> p_ack[a] = true
		fi
	fi
}

inline commit()
{
	if
	:: p_run -> db_run = true; c_run = true; p_run = false
	:: else
	fi;
	if
	:: p_claim -> db_claim = true; c_claim = true; p_claim = false
	:: else
	fi;
	if
	:: p_try -> db_tries = 1; p_try = false
	:: else
	fi;
	if
	:: p_boot -> db_boot = boot; p_boot = false
	:: else
	fi;
	if
	:: p_end ->
		assert(db_end == NONE);
		assert(b_end != GOOD || (exits[b_try] == GOOD && runs[b_try] == 1));
		assert(b_end != LOST || cut || swept || (killed_b && killed_s)
#ifdef SYSTEMD
		       || killed_s
#endif
		);
		db_end = b_end;
		db_claim = false;
		p_end = false
	:: else
	fi;
	for (ALL(i)) {
		if
		:: p_ack[i] -> c_ack[i] = true; p_ack[i] = false
		:: else
		fi
	}
}

inline posts()
{
	if
	:: c_run -> answered = true; c_run = false
	:: else
	fi;
	if
	:: c_claim -> b_claim = DURABLE; c_claim = false
	:: else
	fi;
	for (ALL(i)) {
		if
		:: c_ack[i] -> c_ack[i] = false; x[i] = NONE; x_swept[i] = false; say(ACK, i)
		:: else
		fi
	}
}

inline connect()
{
	clear(to_b);
	clear(to_s);
	s_conn = true;
	b_link = SYNC;
	b_table = table;
	b_swept = (db_table != 0 && db_table != table);
	if
	:: !b_swept || WRONG == TABLE_ID_BEFORE_LOST || WRONG == BOOT_BEFORE_LOST -> db_table = table
	:: else
	fi;
	to_s ! QUERY, 0
}

/* attempt_adopt: is its process ours to reap? */
inline exit_known(a, how)
{
	if
	:: how == LOST && WRONG != NO_SECOND_LOOK && parent[a] == BATCHD &&
	   (proc[a] == ALIVE || proc[a] == ZOMBIE) ->
		x_child[a] = true
	:: else -> x[a] = EXITED; x_end[a] = how
	fi
}

/* local_recover_one, engine_recover_attempt */
inline recover_known(a)
{
	if
	:: snap[a] == FREE
	:: else ->
		x[a] = RUNS;
		if
		:: db_run && b_phase != ENDED && a > b_try ->
			b_try = a;
			b_phase = RUNNING;
			b_recovered = false
		:: else
		fi;
		if
		:: snap[a] == T_EXITED || snap[a] == T_LOST -> exit_known(a, snap_end[a])
		:: else
		fi
	fi
}

inline recover_done()
{
	if
	:: db_run && b_phase == READY && b_recovered && (b_swept || boot != db_boot) ->
		b_phase = ENDED;
		b_end = LOST;
		if
		:: b_try == 0 -> b_try = 1
		:: else
		fi;
		p_end = true
	:: else
	fi;
	p_boot = (boot != db_boot);
	b_recovering = false
}

/* local_known, local_forgotten */
inline live_known(a)
{
	if
	:: b_swept && snap[a] == FREE &&
	   (x[a] == SENT || x[a] == RUNS || (x[a] != NONE && WRONG != SETTLED_WITH_THE_LOST)) -> x_swept[a] = true
	:: else
	fi;
	if
	:: snap[a] == FREE && x[a] == SENT && !b_swept -> x[a] = NONE; b_phase = READY; b_try--
	:: snap[a] == FREE && (x[a] == RUNS || (x[a] == SENT && b_swept)) ->
		x[a] = EXITED;
		x_end[a] = LOST
	:: snap[a] != FREE && x[a] == NONE -> say(ACK, a)
	:: snap[a] != FREE && (x[a] == SENT || x[a] == RUNS) ->
		x[a] = RUNS;
		b_phase = RUNNING;
		if
		:: snap[a] == T_EXITED || snap[a] == T_LOST -> exit_known(a, snap_end[a])
		:: snap[a] == T_ORPHAN && parent[a] == BATCHD && WRONG != NO_SECOND_LOOK ->
			x_child[a] = true
		:: else
		fi
	:: else
	fi
}

inline synced()
{
	b_link = UP;
	if
	:: b_recovering ->
		for (ALL(i)) { recover_known(i) }
		recover_done()
	:: else ->
		for (ALL(i)) { live_known(i) }
	fi
}

inline got(what, a)
{
	if
	:: what == KNOWN_END -> synced()
	:: what == BUSY -> x[a] = NONE; b_phase = READY; b_try--
	:: what == STARTED && x[a] == SENT -> x[a] = RUNS; b_phase = RUNNING
	:: what == EXIT && x[a] == NONE -> say(ACK, a)
	:: what == EXIT && (x[a] == SENT || x[a] == RUNS) -> exit_known(a, t_end[a])
	:: else
	fi
}

/* local_reap: only while it is known whose the children are */
inline reap_child(a)
{
	proc[a] = GONE;
	if
	:: x_child[a] && x[a] == RUNS -> x[a] = EXITED; x_end[a] = exits[a]
	:: else
	fi;
	x_child[a] = false
}

#define SETTLED                                                                                    \
	(over && answered && db_run && db_end != NONE && t[1] == FREE && t[2] == FREE && b_up &&           \
	 x[1] == NONE && x[2] == NONE)

active proctype batchd()
{
	mtype what;
	byte a;
	do
	:: d_step { !b_up -> batchd_forgets(); b_up = true; batchd_loads() }
	:: d_step { b_up && b_link == DOWN && s_up -> connect() }
	:: d_step { b_up && b_link != DOWN && !s_conn && empty(to_b) -> b_link = DOWN }
	:: d_step { b_up && nempty(to_b) && len(to_s) < 4 -> to_b ? what, a; got(what, a); what = 0; a = 0 }
	:: d_step { b_up && !b_recovering && !db_run && !p_run -> p_run = true } /* submit */
	:: d_step { b_up && !b_recovering && db_run && !c_run && !answered -> answered = true } /* again, its key is known */
	:: d_step { b_up && !b_recovering && db_run && !c_run && b_phase == READY && b_claim == NONE ->
		b_claim = ASKED; p_claim = true }
	:: d_step { b_up && b_link == UP && s_conn && db_run && !b_recovering && b_phase == READY &&
		    (b_claim == DURABLE || WRONG == START_BEFORE_CLAIM) && b_try < TRIES && x[b_try + 1] == NONE &&
		    len(to_s) < 4 ->
		b_try++; b_phase = STARTING; x[b_try] = SENT; to_s ! START, b_try }
	:: d_step { b_up && b_link != SYNC && x[1] == EXITED && len(to_s) < 4 -> ended(1) }
	:: d_step { b_up && b_link != SYNC && x[2] == EXITED && len(to_s) < 4 -> ended(2) }
	:: d_step { b_up && b_link == UP && s_up && parent[1] == BATCHD && proc[1] == ZOMBIE -> reap_child(1) }
	:: d_step { b_up && b_link == UP && s_up && parent[2] == BATCHD && proc[2] == ZOMBIE -> reap_child(2) }
	:: d_step { b_up && b_swept && b_link == UP && !b_recovering && !p_end && !x_swept[1] && !x_swept[2] ->
		db_table = b_table; b_swept = false } /* what the sweep cost is stored */
	:: d_step { WRONG == BOOT_BEFORE_LOST && b_up && p_boot -> db_boot = boot; p_boot = false }
	:: d_step { b_up && (p_run || p_claim || p_try || p_end || p_boot || p_ack[1] || p_ack[2]) &&
		    !(c_run || c_claim || c_ack[1] || c_ack[2]) -> commit(); skip }
	:: d_step { b_up && (c_run || c_claim || c_ack[1] || c_ack[2]) && len(to_s) < 4 -> posts(); skip }
	:: SETTLED -> break
	od
}

/* --- the spawner --- */

inline spawner_begins()
{
	s_up = true;
#ifndef SYSTEMD
	s_ours = true;
#endif
	if
	:: table == 0 -> table = 1
	:: else
	fi;
	for (ALL(i)) {
		if
		:: t[i] == T_STARTING && !t_pid[i] && WRONG != NO_PID_IS_LOST -> t[i] = FREE
		:: (t[i] == T_STARTING && (t_pid[i] || WRONG == NO_PID_IS_LOST)) || t[i] == T_RUNNING ||
		   t[i] == T_ORPHAN ->
			if
			:: proc[i] == ALIVE -> t[i] = T_ORPHAN
			:: else -> t[i] = T_LOST; t_end[i] = LOST
			fi
		:: t[i] == T_REAPED -> t[i] = T_EXITED
		:: else
		fi
	}
}

inline frame(what, a)
{
	if
	:: what == QUERY ->
		for (ALL(i)) { snap[i] = t[i]; snap_end[i] = t_end[i] }
		hear(KNOWN_END, 0)
	:: what == ACK && (t[a] == T_EXITED || t[a] == T_LOST || t[a] == T_ORPHAN) -> t[a] = FREE; t_end[a] = NONE
	:: what == START && t[a] == FREE ->
		s_busy = a;
		s_step = 1;
		t_pid[a] = false;
		t_end[a] = NONE;
		if
		:: WRONG != TABLE_AFTER_CLONE -> t[a] = T_STARTING
		:: else
		fi
	:: else
	fi
}

/* The op is executed. */
inline clone(a)
{
	assert(runs[a] == 0);
	assert(db_claim || WRONG == START_BEFORE_CLAIM || cut || swept || db_end != NONE);
	runs[a]++;
	proc[a] = ALIVE;
	parent[a] = SPAWNER;
	t_pid[a] = true
}

inline turn(a)
{
	if
	:: s_step == 1 -> clone(a); s_step = 2
	:: s_step == 2 -> t[a] = T_RUNNING; hear(STARTED, a); s_step = 0; s_busy = 0
	fi
}

#define MINE(a) (s_up && s_step == 0 && proc[a] == ZOMBIE && parent[a] == SPAWNER)

inline store_status(a)
{
	if
	:: WRONG == REAP_BEFORE_STORE -> proc[a] = GONE
	:: else
	fi;
	s_step = 3;
	s_busy = a
}

/* waitid(WNOWAIT), the table, waitpid: three steps that a kill can part */
inline reap(a)
{
	if
	:: s_step == 3 -> t_end[a] = exits[a]; t[a] = T_REAPED; s_step = 4
	:: s_step == 4 -> proc[a] = GONE; s_step = 0; s_busy = 0
	fi
}

active proctype spawner()
{
	mtype what;
	byte a;
	do
	:: d_step { !s_up && b_up && b_link == DOWN -> spawner_begins(); skip }
	:: d_step { s_up && s_step == 0 && nempty(to_s) && len(to_b) < 4 ->
		to_s ? what, a; frame(what, a); what = 0; a = 0 }
	:: d_step { s_up && s_step == 0 && s_conn && !once_busy && to_s ?? [START, 1] && len(to_b) < 4 ->
		once_busy = true; to_s ?? START, 1; hear(BUSY, 1) } /* no fd, no memory */
	:: d_step { s_up && (s_step == 1 || s_step == 2) && len(to_b) < 4 -> turn(s_busy) }
	:: d_step { MINE(1) && t[1] == T_RUNNING -> store_status(1) }
	:: d_step { MINE(2) && t[2] == T_RUNNING -> store_status(2) }
	:: d_step { s_up && s_step >= 3 -> reap(s_busy) }
	:: d_step { s_up && s_step == 0 && t[1] == T_REAPED && len(to_b) < 4 -> t[1] = T_EXITED; hear(EXIT, 1) }
	:: d_step { s_up && s_step == 0 && t[2] == T_REAPED && len(to_b) < 4 -> t[2] = T_EXITED; hear(EXIT, 2) }
	:: d_step { s_up && s_step == 0 && t[1] == T_ORPHAN && proc[1] != ALIVE && len(to_b) < 4 ->
		t[1] = T_LOST; t_end[1] = LOST; hear(EXIT, 1) }
	:: d_step { s_up && s_step == 0 && t[2] == T_ORPHAN && proc[2] != ALIVE && len(to_b) < 4 ->
		t[2] = T_LOST; t_end[2] = LOST; hear(EXIT, 2) }
	:: SETTLED -> break
	od
}

/* --- the op's process --- */

inline exits_with(a, how)
{
	exits[a] = how;
	proc[a] = (parent[a] == INIT -> GONE : ZOMBIE)
}

active proctype op()
{
	do
	:: d_step { proc[1] == ALIVE -> exits_with(1, GOOD) }
	:: d_step { proc[1] == ALIVE -> exits_with(1, BAD) }
	:: d_step { proc[2] == ALIVE -> exits_with(2, GOOD) }
	:: d_step { proc[2] == ALIVE -> exits_with(2, BAD) }
	:: SETTLED && proc[1] != ALIVE && proc[2] != ALIVE -> break
	od
}

/* --- what befalls them --- */

inline orphaned(whose, by)
{
	for (ALL(i)) {
		if
		:: parent[i] == whose && (proc[i] == ALIVE || proc[i] == ZOMBIE) ->
			parent[i] = by;
			proc[i] = (by == INIT && proc[i] == ZOMBIE -> GONE : proc[i])
		:: else
		fi
	}
}

inline kill_batchd()
{
	b_up = false;
	killed_b = true;
	s_ours = false;
	s_conn = false;
	orphaned(BATCHD, INIT);
	batchd_forgets()
}

inline spawner_dies()
{
	s_up = false;
	s_conn = false;
	s_step = 0;
	s_busy = 0;
	clear(to_s);
	for (ALL(i)) {
		if
		:: WRONG == TABLE_IN_MEMORY -> t[i] = FREE
		:: else
		fi
	}
}

inline kill_spawner()
{
	killed_s = true;
	if
	:: s_ours -> orphaned(SPAWNER, BATCHD)
	:: else -> orphaned(SPAWNER, INIT)
	fi;
	spawner_dies()
}

inline power_cut()
{
	cut = true;
	boot = !boot;
	b_up = false;
	s_ours = false;
	spawner_dies();
	batchd_forgets();
	for (ALL(i)) {
		t[i] = FREE;
		proc[i] = (proc[i] == ALIVE || proc[i] == ZOMBIE -> GONE : proc[i])
	}
	table++
}

/* The runtime folder goes while no spawner is there to hold it. */
inline sweep()
{
	swept = true;
	table++;
	for (ALL(i)) { t[i] = FREE }
}

active proctype fate()
{
	do
	:: d_step { kills < KILLS && b_up -> kills++; kill_batchd(); skip }
	:: d_step { kills < KILLS && s_up -> kills++; kill_spawner(); skip }
#ifdef POWER
	:: d_step { kills < KILLS && !cut -> kills++; power_cut(); skip }
#endif
#ifdef SWEEP
	:: d_step { !s_up && table > 0 && !swept -> sweep(); skip }
#endif
	:: over = true; break /* nothing more befalls them: now it must come to its end */
	od
}
