;;; batchd.el --- Run batches and keep todos with batchd  -*- lexical-binding: t; -*-

;; Author: The batchd authors
;; Version: 0.1.0
;; Package-Requires: ((emacs "28.1"))
;; Keywords: processes, tools, convenience
;; SPDX-License-Identifier: MIT

;;; Commentary:

;; batchd runs whole batches of commands in parallel, keeps what they print,
;; and keeps todo lists that the running ops move.  Here:
;;
;;   M-x batchd-compile         run a shell command; its output, errors to visit
;;   M-x batchd-submit          submit the batch in this buffer or region
;;   M-x batchd-list-todos      this project's todo list
;;   M-x batchd-list-runs       this project's runs, their output, cancel, retry
;;   M-x batchd-mode            "2 runs, todos 3/7" in the mode line
;;
;; All of it is live: one `batchctl rpc' process has subscriptions that tell
;; of each change, also over a restart of batchd.  Nothing is polled, and
;; nothing waits for batchd.

;;; Code:

(require 'compile)
(require 'json)
(require 'project)
(require 'subr-x)
(require 'tabulated-list)

(defgroup batchd nil
  "Run batches and keep todos with batchd."
  :group 'tools
  :prefix "batchd-")

(defcustom batchd-program "batchctl"
  "The batchctl to speak to batchd with."
  :type 'string)

(defcustom batchd-list nil
  "Name of the todo list; nil means BATCHD_LIST, else the project's list."
  :type '(choice (const :tag "The project's" nil) string)
  :safe #'stringp)

(defcustom batchd-runs-limit 100
  "How many runs `batchd-list-runs' shows."
  :type 'natnum)

(defcustom batchd-todos-changed-hook nil
  "Run after a todo list that is known here has changed."
  :type 'hook)

(defcustom batchd-runs-changed-hook nil
  "Run after a run has begun, moved on or ended."
  :type 'hook)

(defface batchd-active '((t :inherit warning))
  "What is running or being done.")

(defface batchd-done '((t :inherit shadow))
  "What is done or was cancelled.")

(defface batchd-failed '((t :inherit error))
  "What failed.")


;;;; The connection

(defvar batchd--process nil "The `batchctl rpc' process.")
(defvar batchd--calls (make-hash-table) "What was asked: id to function.")
(defvar batchd--last-id 0 "Id of the last call.")
(defvar batchd--subscribed nil "Whether the subscriptions were asked for.")
(defvar batchd--run-sub nil "Number of the subscription to runs.")
(defvar batchd--lists (make-hash-table :test #'equal)
  "What is known of todo lists: name to alist of `list', `rev', `todos'.")
(defvar batchd--names (make-hash-table :test #'equal)
  "Folder to the name of its list.")
(defvar batchd--fetching (make-hash-table :test #'equal)
  "Lists being asked for: selector to whether to ask once more.")
(defvar batchd--runs nil "Runs that have not ended: id to run.")
(defvar batchd--shown nil "Selector of the list that the mode line tells of.")
(defvar batchd--text "" "What the mode line shows.")

(defun batchd--parse (line)
  "Parse LINE, a JSON text, to alists and lists; null and false are nil."
  (if (and (fboundp 'json-parse-string) (json-available-p))
      (json-parse-string line :object-type 'alist :array-type 'list
                         :null-object nil :false-object nil)
    (let ((json-array-type 'list) (json-null nil) (json-false nil))
      (json-read-from-string line))))

(defun batchd--take (message)
  "Give MESSAGE to whoever waits for it."
  (let-alist message
    (cond
     (.method (batchd--event .params))
     ((gethash .id batchd--calls)
      (let ((callback (gethash .id batchd--calls)))
        (remhash .id batchd--calls)
        (funcall callback (and .error (alist-get 'message .error)) .result))))))

(defun batchd--filter (process text)
  "Take TEXT from PROCESS: messages, a line each."
  (push text (process-get process 'partial))
  (when (string-search "\n" text)
    (let ((lines (split-string (string-join (nreverse (process-get process 'partial))) "\n")))
      (process-put process 'partial (last lines))
      (dolist (line (butlast lines))
        (unless (or (string-empty-p line) (batchd--op-event-p line))
          (with-demoted-errors "batchd: %S"
            (batchd--take (batchd--parse line))))))))

(defun batchd--op-event-p (line)
  "Whether LINE is one of the many events of single ops: not for us."
  (and (string-match-p "\\`{\"jsonrpc\": *\"2\\.0\", *\"method\":" line)
       (string-search "\"type\": \"op.state\"" line)))

(defun batchd--sentinel (process _event)
  "PROCESS has ended: what was asked of it fails."
  (unless (process-live-p process)
    (when (eq process batchd--process)
      (setq batchd--process nil batchd--subscribed nil batchd--runs nil)
      (let ((calls (hash-table-values batchd--calls)))
        (clrhash batchd--calls)
        (clrhash batchd--fetching)
        (dolist (callback calls)
          (funcall callback "batchctl rpc has ended" nil)))
      (batchd--show))))

(defun batchd--connect ()
  "The process to write to; it is started where there is none."
  (unless (process-live-p batchd--process)
    (let ((default-directory temporary-file-directory))
      (setq batchd--process
            (make-process :name "batchd"
                          :command (list batchd-program "rpc" "--framing=ndjson" "--no-start")
                          :connection-type 'pipe
                          :coding 'utf-8-unix
                          :noquery t
                          :stderr (get-buffer-create " *batchd stderr*")
                          :filter #'batchd--filter
                          :sentinel #'batchd--sentinel)))
    (when-let ((errors (get-buffer-process " *batchd stderr*")))
      (set-process-query-on-exit-flag errors nil))
    (batchd-request "rpc.hello" '((client . "emacs")) #'ignore))
  batchd--process)

(defun batchd-request (method params callback)
  "Call METHOD of batchd with PARAMS, an alist; arrays in it are vectors.
CALLBACK is called with an error text or nil, and the result: alists
and lists.  The methods are those of batchd's PROTOCOL.md."
  (let ((process (batchd--connect))
        (id (setq batchd--last-id (1+ batchd--last-id))))
    (puthash id callback batchd--calls)
    (process-send-string
     process
     (concat (json-encode `((jsonrpc . "2.0") (id . ,id) (method . ,method)
                            ,@(and params `((params . ,params)))))
             "\n"))))

(defun batchd--tell (error-text &rest _)
  "Say ERROR-TEXT, if there is one."
  (when error-text
    (message "batchd: %s" error-text)))


;;;; What is known

(defun batchd--folder ()
  "The project's folder, else the current one."
  (when (file-remote-p default-directory)
    (user-error "Batchd runs on this machine only"))
  (directory-file-name
   (expand-file-name (if-let ((project (project-current)))
                         (project-root project)
                       default-directory))))

(defun batchd--selector ()
  "How the list is named to batchd: by name where one is set, else by folder."
  (let ((list (or batchd-list (getenv "BATCHD_LIST"))))
    (if (and list (not (string-empty-p list)))
        `((list . ,list))
      `((cwd . ,(batchd--folder))))))

(defun batchd--known (selector)
  "The list that SELECTOR names, as far as it is known."
  (gethash (or (alist-get 'list selector)
               (gethash (alist-get 'cwd selector) batchd--names))
           batchd--lists))

(defun batchd--fetch (selector &optional callback got rev)
  "Ask for the list that SELECTOR names, and call CALLBACK with an error or it.
A change that comes meanwhile has it asked for once more.  GOT are the
items of earlier pages, REV is their revision."
  (if (and (not got) (not callback) (gethash selector batchd--fetching))
      (puthash selector 'again batchd--fetching)
    (unless got
      (puthash selector 'asked batchd--fetching))
    (batchd-request
     "todo.list"
     (append selector (and got `((rev . ,rev) (offset . ,(length got)))))
     (lambda (err page)
       (let-alist page
         (let ((todos (append got .todos)))
           (if (and .next (not err))
               (batchd--fetch selector callback todos .rev)
             (let ((again (eq (gethash selector batchd--fetching) 'again)))
               (remhash selector batchd--fetching)
               (batchd--fetched selector err .list .rev todos)
               (when callback
                 (funcall callback err (gethash .list batchd--lists)))
               (when again
                 (batchd--fetch selector))))))))))

(defun batchd--fetched (selector err list rev todos)
  "Keep what was asked for by SELECTOR: LIST with TODOS at REV, unless ERR."
  (unless err
    (when-let ((folder (alist-get 'cwd selector)))
      (puthash folder list batchd--names))
    (puthash list `((list . ,list) (rev . ,rev) (todos . ,todos)) batchd--lists)
    (batchd--show)
    (batchd--redraw 'batchd-todo-list-mode)
    (run-hooks 'batchd-todos-changed-hook)))

(defun batchd--ended-p (state)
  "Whether STATE of a run is one it stays in."
  (member state '("succeeded" "failed" "cancelled" "interrupted")))

(defun batchd--runs-are (err snapshot)
  "Take what the subscription was answered: ERR or SNAPSHOT."
  (if err
      (setq batchd--subscribed nil)
    (let-alist snapshot
      (setq batchd--run-sub .sub
            batchd--runs (mapcar (lambda (run) (cons (alist-get 'run run) run)) .runs)))
    (batchd--runs-changed)))

(defun batchd--runs-changed ()
  "Show what has changed about any run."
  (batchd--show)
  (batchd--redraw 'batchd-run-list-mode)
  (run-hooks 'batchd-runs-changed-hook))

(defun batchd--event (event)
  "Take EVENT of a subscription."
  (let-alist event
    (pcase .type
      ("todo.changed"
       (when (gethash .list batchd--lists)
         (batchd--fetch `((list . ,.list)))))
      ("run.state"
       (setq batchd--runs (assq-delete-all .run batchd--runs))
       (unless (batchd--ended-p .state)
         (push (cons .run event) batchd--runs))
       (batchd--runs-changed))
      ("resync"
       (if (not (eql .sub batchd--run-sub))
           (maphash (lambda (name _) (batchd--fetch `((list . ,name)))) batchd--lists)
         (batchd-request "rpc.unsubscribe" `((sub . ,.sub)) #'ignore)
         (batchd-request "run.subscribe" nil #'batchd--runs-are))))))

(defun batchd--begin ()
  "Follow batchd from here on; without one, the next command does."
  (unless batchd--subscribed
    (setq batchd--subscribed t)
    (batchd-request "todo.subscribe" nil #'ignore)
    (batchd-request "run.subscribe" nil #'batchd--runs-are)
    (maphash (lambda (name _) (batchd--fetch `((list . ,name)))) batchd--lists)))

(defun batchd--ensure (callback)
  "Call CALLBACK when there is a batchd; it is started where there is none."
  (make-process
   :name "batchd start" :noquery t :connection-type 'pipe
   :command (list batchd-program "daemon" "start")
   :buffer (generate-new-buffer " *batchd start*")
   :sentinel
   (lambda (process _event)
     (unless (process-live-p process)
       (let ((said (with-current-buffer (process-buffer process) (string-trim (buffer-string)))))
         (kill-buffer (process-buffer process))
         (if (zerop (process-exit-status process))
             (funcall callback)
           (batchd--tell said)))))))


;;;; Mode line

(defun batchd--show ()
  "Make the text for the mode line anew."
  (let* ((list (batchd--known batchd--shown))
         (todos (seq-remove (lambda (item) (equal (alist-get 'status item) "cancelled"))
                            (alist-get 'todos list)))
         (done (seq-count (lambda (item) (equal (alist-get 'status item) "completed")) todos))
         (runs (length batchd--runs)))
    (setq batchd--text
          (string-join
           (delq nil (list (and (> runs 0) (format (if (= runs 1) "%d run" "%d runs") runs))
                           (and todos (format "todos %d/%d" done (length todos)))))
           ", "))
    (force-mode-line-update t)))

(defvar batchd--mode-line
  '(:eval (if (string-empty-p batchd--text) "" (concat batchd--text " ")))
  "What stands in `mode-line-misc-info'.")

;;;###autoload
(define-minor-mode batchd-mode
  "Show in the mode line how many runs there are, and how far the todos are.
The list is that of the project in which the mode was turned on, or
that was looked at last."
  :global t
  (setq mode-line-misc-info (delete '(batchd-mode ("" batchd--mode-line)) mode-line-misc-info))
  (when batchd-mode
    (push '(batchd-mode ("" batchd--mode-line)) mode-line-misc-info)
    (put 'batchd--mode-line 'risky-local-variable t)
    (when (executable-find batchd-program)
      (setq batchd--shown (batchd--selector))
      (batchd--begin)
      (batchd--fetch batchd--shown))))


;;;; The todo list

(defvar-local batchd--here nil "Selector of the list that this buffer shows.")

(defun batchd--table-map (keys)
  "A keymap for a table: KEYS is an alist of keys, as of `kbd', and commands."
  (let ((map (make-sparse-keymap)))
    (set-keymap-parent map tabulated-list-mode-map)
    (pcase-dolist (`(,key . ,command) keys)
      (define-key map (kbd key) command))
    map))

(defun batchd--table (columns refresh)
  "Make this buffer a table of COLUMNS, with REFRESH for `revert-buffer'."
  (setq tabulated-list-format columns
        tabulated-list-padding 1
        revert-buffer-function (lambda (&rest _) (funcall refresh)))
  (tabulated-list-init-header))

(defvar batchd-todo-list-mode-map
  (batchd--table-map
   '(("RET" . batchd-todo-visit)
     ("+" . batchd-todo-add)
     ("e" . batchd-todo-edit)
     ("d" . batchd-todo-done)
     ("s" . batchd-todo-start)
     ("o" . batchd-todo-open)
     ("c" . batchd-todo-cancel)
     ("P" . batchd-todo-priority)
     ("D" . batchd-todo-remove)))
  "Keys of `batchd-todo-list-mode'.")

(define-derived-mode batchd-todo-list-mode tabulated-list-mode "Todos"
  "A todo list of batchd.  It follows what changes elsewhere.
\\{batchd-todo-list-mode-map}"
  (batchd--table [("S" 3 t) ("Pri" 6 batchd--priority<) ("What" 44 t) ("Id" 12 t) ("More" 0 nil)]
                 (lambda () (batchd--fetch batchd--here #'batchd--tell))))

(defun batchd--priority< (a b)
  "Whether the entry A has a higher priority than B."
  (< (seq-position '("high" "" "low") (aref (cadr a) 1))
     (seq-position '("high" "" "low") (aref (cadr b) 1))))

(defun batchd--todo-more (item)
  "What ITEM has beside its content."
  (let-alist item
    (string-join
     (delq nil (list (and .owner (concat "@" .owner))
                     (and .blocked_by (concat "after " (string-join .blocked_by ", ")))
                     .at
                     (and .error (concat "failed: " .error))))
     "  ")))

(defun batchd--todo-entry (item)
  "ITEM as an entry of the table."
  (let-alist item
    (let ((face (pcase .status
                  ("in_progress" 'batchd-active)
                  ("pending" (if .error 'batchd-failed 'default))
                  (_ 'batchd-done))))
      (list .id
            (vector (pcase .status ("completed" "[x]") ("in_progress" "[~]") ("cancelled" "[-]") (_ "[ ]"))
                    (if (equal .priority "medium") "" .priority)
                    (propertize (string-replace "\n" " " .content) 'face face)
                    .id
                    (batchd--todo-more item))))))

(defun batchd--redraw (mode)
  "Print the buffers of MODE anew; point stays at its entry."
  (dolist (buffer (buffer-list))
    (with-current-buffer buffer
      (when (eq major-mode mode)
        (if (eq mode 'batchd-run-list-mode)
            (batchd--runs-refresh)
          (setq tabulated-list-entries
                (mapcar #'batchd--todo-entry (alist-get 'todos (batchd--known batchd--here))))
          (tabulated-list-print t))))))

;;;###autoload
(defun batchd-list-todos ()
  "Show this project's todo list."
  (interactive)
  (let* ((selector (batchd--selector))
         (folder default-directory)
         (buffer (get-buffer-create (format "*batchd todos: %s*" (cdar selector)))))
    (with-current-buffer buffer
      (unless (derived-mode-p 'batchd-todo-list-mode)
        (batchd-todo-list-mode))
      (setq batchd--here selector
            default-directory folder))
    (setq batchd--shown selector)
    (batchd--begin)
    (batchd--fetch selector #'batchd--tell)
    (pop-to-buffer buffer)))

(defun batchd--item ()
  "The item at point."
  (or (seq-find (lambda (item) (equal (alist-get 'id item) (tabulated-list-get-id)))
                (alist-get 'todos (batchd--known batchd--here)))
      (user-error "No item here")))

(defun batchd--update (&rest fields)
  "Change FIELDS, an alist, of the item at point, or of each in the region."
  (let ((ids (if (use-region-p)
                 (save-excursion
                   (let ((end (region-end)) found)
                     (goto-char (region-beginning))
                     (while (< (point) end)
                       (push (tabulated-list-get-id) found)
                       (forward-line))
                     (delq nil found)))
               (list (alist-get 'id (batchd--item))))))
    (dolist (id ids)
      (batchd-request "todo.update" `(,@batchd--here (id . ,id) ,@fields) #'batchd--tell))))

(defun batchd-todo-done ()
  "The item at point is done."
  (interactive nil batchd-todo-list-mode)
  (batchd--update '(status . "completed")))

(defun batchd-todo-start ()
  "The item at point has been begun."
  (interactive nil batchd-todo-list-mode)
  (batchd--update '(status . "in_progress")))

(defun batchd-todo-open ()
  "The item at point is open again."
  (interactive nil batchd-todo-list-mode)
  (batchd--update '(status . "pending")))

(defun batchd-todo-cancel ()
  "The item at point will not be done."
  (interactive nil batchd-todo-list-mode)
  (batchd--update '(status . "cancelled")))

(defun batchd-todo-priority (priority)
  "Give the item at point another PRIORITY."
  (interactive (list (completing-read "Priority: " '("high" "medium" "low") nil t)) batchd-todo-list-mode)
  (batchd--update `(priority . ,priority)))

(defun batchd-todo-remove ()
  "Remove the item at point; there is `batchctl todo undo'."
  (interactive nil batchd-todo-list-mode)
  (let ((item (batchd--item)))
    (when (y-or-n-p (format "Remove `%s'? " (alist-get 'content item)))
      (batchd-request "todo.remove" `(,@batchd--here (id . ,(alist-get 'id item))) #'batchd--tell))))

(defun batchd-todo-edit ()
  "Change the words of the item at point.
Where somebody else changes them meanwhile you are asked."
  (interactive nil batchd-todo-list-mode)
  (let* ((id (alist-get 'id (batchd--item)))
         (before (alist-get 'content (batchd--item)))
         (after (read-string "What: " before))
         (item (batchd--item))
         (now (alist-get 'content item)))
    (unless (equal id (alist-get 'id item))
      (user-error "The item was removed meanwhile"))
    (when (or (equal before now)
              (y-or-n-p (format "It was changed to `%s' elsewhere; write yours? " now)))
      (batchd-request "todo.update"
                      `(,@batchd--here (id . ,id) (content . ,after)
                                       (base_rev . ,(alist-get 'rev (batchd--known batchd--here))))
                      #'batchd--tell))))

(defun batchd-todo-visit ()
  "Go to where the item at point stands."
  (interactive nil batchd-todo-list-mode)
  (let ((at (or (alist-get 'at (batchd--item)) ""))
        (list (alist-get 'list (batchd--known batchd--here))))
    (unless (string-match "\\`\\(.+?\\):\\([0-9]+\\)" at)
      (user-error "This item has no place; `batchd-todo-here' makes one that has"))
    (let ((line (string-to-number (match-string 2 at))))
      (find-file-other-window (expand-file-name (match-string 1 at)
                                                (if (file-name-absolute-p list) list default-directory)))
      (goto-char (point-min))
      (forward-line (1- line)))))

(defun batchd--add (content &optional at)
  "Add an item with CONTENT, and with AT, its place."
  (when (string-blank-p content)
    (user-error "What is to be done?"))
  (let ((selector (or batchd--here (batchd--selector))))
    (batchd--ensure
     (lambda ()
       (batchd--begin)
       (batchd-request "todo.write"
                       `(,@selector (mode . "merge")
                                    (todos . [((content . ,content) ,@(and at `((at . ,at))))]))
                       (lambda (err _)
                         (if err (batchd--tell err) (batchd--fetch selector))))))))

;;;###autoload
(defun batchd-todo-add (content)
  "Add an item to the project's todo list: CONTENT is what is to be done."
  (interactive "sWhat: ")
  (batchd--add content))

;;;###autoload
(defun batchd-todo-here (content)
  "Add an item that stands at this line: CONTENT is what is to be done."
  (interactive "sWhat: ")
  (unless buffer-file-name
    (user-error "This buffer is no file"))
  (batchd--add content (format "%s:%d" (file-relative-name buffer-file-name (batchd--folder))
                               (line-number-at-pos nil t))))


;;;; Runs and their output

(defvar batchd-run-list-mode-map
  (batchd--table-map
   '(("RET" . batchd-run-log)
     ("c" . batchd-run-cancel)
     ("r" . batchd-run-retry)
     ("R" . batchd-run-restart)
     ("p" . batchd-run-pause)
     ("u" . batchd-run-resume)))
  "Keys of `batchd-run-list-mode'.")

(define-derived-mode batchd-run-list-mode tabulated-list-mode "Runs"
  "The runs of a project.  It follows them.
\\{batchd-run-list-mode-map}"
  (batchd--table [("Run" 7 batchd--run<) ("State" 12 t) ("Ops" 11 nil) ("Name" 0 t)] #'batchd--runs-refresh))

(defun batchd--run< (a b)
  "Whether the entry A is an earlier run than B."
  (< (car a) (car b)))

(defvar-local batchd--first-ops nil "Run to the text of its first op, where it goes by that.")

(defun batchd--run-entry (run)
  "RUN as an entry of the table."
  (let-alist run
    (list .run
          (vector (number-to-string .run)
                  (propertize .state 'face (pcase .state
                                             ("failed" 'batchd-failed)
                                             ("running" 'batchd-active)
                                             (_ 'default)))
                  (format "%d/%d" (- .summary.ops (batchd--left .summary)) .summary.ops)
                  (or (batchd--run-name run) (gethash .run batchd--first-ops) "")))))

(defun batchd--run-name (run)
  "The name of RUN, or those of its messages, or nil."
  (let-alist run
    (or .name
        (when-let ((names (delq nil (mapcar (lambda (m) (alist-get 'name m)) .messages))))
          (string-join names ", ")))))

(defun batchd--with-first-ops (entries callback)
  "Call CALLBACK once the first op is known of those ENTRIES that have no name.
They are asked for all at once; what cannot be had stays unknown."
  (let* ((known (or batchd--first-ops (setq batchd--first-ops (make-hash-table))))
         (left 1)
         (answered (lambda () (when (zerop (setq left (1- left))) (funcall callback)))))
    (dolist (run entries)
      (let ((id (alist-get 'run run)))
        (unless (or (batchd--run-name run) (gethash id known))
          (setq left (1+ left))
          (batchd-request "run.get" `((run . ,id) (limit . 1))
                          (lambda (_err result)
                            (when-let ((op (car (alist-get 'ops result))))
                              (puthash id (alist-get 'text op) known))
                            (funcall answered))))))
    (funcall answered)))

(defun batchd--left (summary)
  "How many ops of SUMMARY have not ended."
  (let-alist summary
    (- .ops .succeeded .failed .skipped .cancelled .interrupted)))

(defvar-local batchd--asked nil "Whether this buffer's runs are being asked for.")

(defun batchd--runs-refresh ()
  "Ask for what this buffer lists, and print it."
  (if batchd--asked
      (setq batchd--asked 'again)
    (setq batchd--asked t)
    (let ((buffer (current-buffer)))
      (batchd-request
       "run.list" `((project . ,(alist-get 'cwd batchd--here)) (limit . ,batchd-runs-limit))
       (lambda (err result)
         (when (buffer-live-p buffer)
           (with-current-buffer buffer
             (let ((runs (alist-get 'runs result)))
               (batchd--with-first-ops runs (lambda () (batchd--runs-print buffer err runs)))))))))))

(defun batchd--runs-print (buffer err entries)
  "Fill BUFFER, if it is still there, with ENTRIES, or say ERR."
  (when (buffer-live-p buffer)
    (with-current-buffer buffer
      (let ((again (eq batchd--asked 'again)))
        (setq batchd--asked nil)
        (if err
            (batchd--tell err)
          (setq tabulated-list-entries (mapcar #'batchd--run-entry entries))
          (tabulated-list-print t)
          (when again
            (batchd--runs-refresh)))))))

;;;###autoload
(defun batchd-list-runs ()
  "List each run of this project, the newest first."
  (interactive)
  (let ((folder (batchd--folder)))
    (pop-to-buffer (get-buffer-create (format "*batchd runs: %s*" folder)))
    (unless (derived-mode-p 'batchd-run-list-mode)
      (batchd-run-list-mode))
    (setq batchd--here `((cwd . ,folder))
          default-directory (file-name-as-directory folder))
    (batchd--begin)
    (batchd--runs-refresh)))

(defun batchd--run-call (method &rest params)
  "Call METHOD with the run at point and PARAMS."
  (batchd-request method `((run . ,(or (tabulated-list-get-id) (user-error "No run here"))) ,@params)
                  #'batchd--tell))

(defun batchd-run-cancel ()
  "Cancel the run at point."
  (interactive nil batchd-run-list-mode)
  (batchd--run-call "run.cancel"))

(defun batchd-run-pause ()
  "Start nothing new of the run at point."
  (interactive nil batchd-run-list-mode)
  (batchd--run-call "run.pause"))

(defun batchd-run-resume ()
  "Go on with the run at point."
  (interactive nil batchd-run-list-mode)
  (batchd--run-call "run.resume"))

(defun batchd-run-retry ()
  "Do again what did not succeed of the run at point, as a new run."
  (interactive nil batchd-run-list-mode)
  (batchd--run-call "run.restart" '(failed . t)))

(defun batchd-run-restart ()
  "Do all of the run at point again, as a new run."
  (interactive nil batchd-run-list-mode)
  (batchd--run-call "run.restart"))

;;;###autoload
(defun batchd-run-log (run)
  "Show what RUN prints, with the places that it names, in a compilation buffer.
RUN may be RUN.OP.  `kill-compilation' ends the looking, not the run."
  (interactive (list (or (and (derived-mode-p 'batchd-run-list-mode) (tabulated-list-get-id))
                         (read-string "Log of run: " nil nil "last"))))
  (let ((argument (shell-quote-argument (format "%s" run)))
        (program (shell-quote-argument batchd-program)))
    (compilation-start (format "%s log -f %s && %s -q wait %s" program argument program
                               (car (split-string argument "\\.")))
                       nil (lambda (_mode) (format "*batchd run %s*" run)))))

(defun batchd--submit (arguments &optional start end)
  "Run batchctl with ARGUMENTS, which prints a run's id, and show its log.
The text from START to END is its standard input."
  (let* ((default-directory (file-name-as-directory (batchd--folder)))
         (file (or buffer-file-name (buffer-name)))
         (skipped (if start (1- (line-number-at-pos start t)) 0))
         (errors (generate-new-buffer " *batchd submit errors*"))
         (process
          (make-process
           :name "batchd submit" :noquery t :connection-type 'pipe
           :command (cons batchd-program arguments)
           :buffer (generate-new-buffer " *batchd submit*")
           :stderr errors
           :sentinel
           (lambda (process _event)
             (unless (process-live-p process)
               (batchd--submitted process errors file skipped))))))
    (set-process-query-on-exit-flag (get-buffer-process errors) nil)
    (set-process-sentinel (get-buffer-process errors) #'ignore)
    (when start
      (process-send-region process start end))
    (process-send-eof process)))

(defun batchd--submitted (process errors file skipped)
  "The submitting PROCESS has ended.
ERRORS has what it said; faults are of FILE, where SKIPPED lines were
not sent."
  (while (and (get-buffer-process errors)
              (accept-process-output (get-buffer-process errors) 0.1)))
  (let ((run (with-current-buffer (process-buffer process) (string-trim (buffer-string))))
        (folder (buffer-local-value 'default-directory (process-buffer process)))
        (said (with-current-buffer errors (string-trim (buffer-string)))))
    (kill-buffer errors)
    (kill-buffer (process-buffer process))
    (batchd--begin)
    (if (zerop (process-exit-status process))
        (let ((default-directory folder))
          (batchd-run-log run))
      (batchd--show-faults said file skipped))))

(defun batchd--show-faults (said file skipped)
  "Show what batchctl SAID of a batch from FILE.
SKIPPED lines of it were not sent."
  (with-current-buffer (get-buffer-create "*batchd faults*")
    (let ((inhibit-read-only t))
      (erase-buffer)
      (insert said "\n")
      (goto-char (point-min))
      (while (re-search-forward "^batchctl submit: <stdin>:\\([0-9]+\\):" nil t)
        (replace-match (format "%s:%d:" file (+ skipped (string-to-number (match-string 1)))) t t)))
    (compilation-mode)
    (display-buffer (current-buffer))))

;;;###autoload
(defun batchd-compile (command)
  "Run the shell COMMAND as a batch in the project's folder, and show its log.
It runs on when Emacs ends."
  (interactive (list (read-shell-command "Run: " nil 'compile-history)))
  (batchd--submit (list "add" "--" command)))

;;;###autoload
(defun batchd-submit (start end)
  "Submit the batch in the region from START to END, or in the buffer."
  (interactive (if (use-region-p)
                   (list (region-beginning) (region-end))
                 (list (point-min) (point-max))))
  (batchd--submit '("submit" "-") start end))

(provide 'batchd)
;;; batchd.el ends here
